//! Privileges given up once everything is loaded and attached. All of them belong to a thread and are
//! inherited by the threads it starts, so each thread that runs already gives up its own.
//!
//! First the mount table (`confine/mounts.rs`), which takes a privilege; then capabilities; then the
//! threads that Landlock would hinder (`confine/clerk.rs`); then Landlock (`confine/paths.rs`).

pub(super) mod clerk;
mod mounts;
mod paths;

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

use self::mounts::{MountsError, Suspects};
pub(super) use self::paths::Grant;
use crate::config::{self, Confine, Confinement};

/// What the daemon goes on needing: maps and iterators, other processes' links, fusectl, symbols.
const NEEDED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYSLOG);

/// Why the daemon is not confined as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// `confine.mounts`.
    #[error("confine.mounts is required, but {0}")]
    Mounts(String),
    /// `confine.landlock`.
    #[error("confine.landlock is required, but {0}")]
    Landlock(String),
    /// A capability could not be given up, or a thread not be started.
    #[error("cannot give up privileges")]
    System(#[from] io::Error),
}

/// What it takes to go on.
#[derive(Debug)]
pub(super) struct Needs<'a> {
    /// What is observed, which nothing may lead to.
    pub(super) scope: &'a config::Scope,
    /// Files besides `/proc` and `/sys`.
    pub(super) grants: Vec<Grant>,
    /// Where FUSE may come as a module, programs are loaded for it later, and its BTF is for
    /// `CAP_SYS_ADMIN` alone (`bpf_btf_get_fd_by_id`, `kernel/bpf/syscall.c`).
    pub(super) opens_module_btf: bool,
}

/// Confines this thread, and those it starts, and logs how. Called once.
pub(super) fn confine(wanted: Confine, needs: Needs<'_>) -> Result<(), ConfineError> {
    let mut grants = vec![Grant::read("/proc"), Grant::read("/sys")];
    grants.extend(needs.grants);
    let suspects = Suspects::new(needs.scope).map_err(MountsError::from);
    let mounts = match (wanted.mounts, &suspects) {
        (Confinement::Off, _) => Err("it is off".to_owned()),
        (_, Err(error)) => Err(super::run::chain(error)),
        (_, Ok(suspects)) => {
            let needed: Vec<_> = grants.iter().map(|grant| grant.path.clone()).collect();
            mounts::separate(suspects, &needed).map_err(|error| super::run::chain(&error))
        }
    };
    if let (Confinement::Required, Err(why)) = (wanted.mounts, &mounts) {
        return Err(ConfineError::Mounts(why.clone()));
    }
    if let Ok(suspects) = &suspects {
        refuse_suspects(suspects, &mut grants);
        grants.iter().for_each(Grant::make);
    }
    give_up_capabilities_but(needs.opens_module_btf)?;
    let landlock = if wanted.landlock == Confinement::Off {
        Err("it is off".to_owned())
    } else {
        landlock()
    };
    let landlock = match landlock {
        Ok(_) => {
            clerk::LINKS.start()?;
            clerk::NAMESPACES.start()?;
            paths::restrict(&grants)
        }
        Err(why) => Err(why),
    };
    if let (Confinement::Required, Err(why)) = (wanted.landlock, &landlock) {
        return Err(ConfineError::Landlock(why.clone()));
    }
    report(wanted, &mounts, &landlock);
    Ok(())
}

/// Says how, and warns where nothing keeps us from a path on an observed mount.
fn report(wanted: Confine, mounts: &Result<(), String>, landlock: &Result<String, String>) {
    let own_mounts = match mounts {
        Ok(()) => "yes",
        Err(why) => why,
    };
    let (Ok(landlock) | Err(landlock)) = landlock;
    if mounts.is_err() && wanted.mounts != Confinement::Off {
        tracing::warn!(own_mounts, landlock, "confined in part");
    } else {
        tracing::info!(own_mounts, landlock, "confined");
    }
}

/// What lies on a mount that may not answer is never granted: it would be walked to.
fn refuse_suspects(suspects: &Suspects, grants: &mut Vec<Grant>) {
    let Ok(lines) = mounts::visible() else {
        return;
    };
    grants.retain(|grant| {
        let is_suspect = suspects.are_on_the_way(&lines, &grant.path);
        if is_suspect {
            tracing::warn!(path = ?grant.path, "not granted: it lies on a mount that may not answer");
        }
        !is_suspect
    });
}

/// Which version of Landlock this kernel has, or why it has none. Tried on a thread that ends at once.
pub(super) fn landlock() -> Result<String, String> {
    let tried = std::thread::spawn(|| paths::restrict(&[]));
    tried
        .join()
        .unwrap_or_else(|_| Err("it cannot be tried".to_owned()))
}

/// Keeps of this thread's capabilities, and of those started later, only what is needed.
fn give_up_capabilities_but(opens_module_btf: bool) -> io::Result<()> {
    let held = capabilities(None)?.permitted;
    // Before 5.8 there is no CAP_BPF, and CAP_SYS_ADMIN does what it does later.
    keep_of_held(if held.contains(CapabilitySet::BPF) && !opens_module_btf {
        NEEDED
    } else {
        NEEDED.union(CapabilitySet::SYS_ADMIN)
    })
}

/// Keeps no capability; of files, what was granted to all: for a thread that works on those.
pub(super) fn give_up_capabilities() -> io::Result<()> {
    keep_of_held(CapabilitySet::empty())
}

/// Keeps no file either: for a thread that only writes to descriptors it is handed.
pub(super) fn give_up_all() -> io::Result<()> {
    give_up_capabilities()?;
    // Without Landlock it can open what its user can.
    paths::restrict(&[]).ok();
    Ok(())
}

fn keep_of_held(wanted: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted.intersection(wanted);
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own: other tests go on with what they have.
    #[test]
    fn a_confined_thread_holds_nothing_but_what_is_needed_and_then_nothing() {
        let held = std::thread::spawn(|| {
            give_up_capabilities_but(false).unwrap();
            let confined = capabilities(None).unwrap();
            give_up_capabilities().unwrap();
            (confined, capabilities(None).unwrap())
        });
        let (confined, bare) = held.join().unwrap();
        assert!(
            NEEDED
                .union(CapabilitySet::SYS_ADMIN)
                .contains(confined.permitted)
        );
        assert_eq!(confined.effective, confined.permitted);
        assert_eq!(bare.permitted, CapabilitySet::empty());
    }
}

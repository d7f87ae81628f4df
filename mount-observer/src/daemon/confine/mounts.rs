//! A mount table of our own in which nothing that is observed is mounted: no path leads there.
//!
//! Landlock refuses to open what it does not grant, but only once the path was walked, and to walk it
//! asks the file system: a server that does not answer would hold us (`do_open`, `fs/namei.c`: the
//! check of `vfs_open` comes last). In a table without the mount there is nothing to ask.
//!
//! What others mount and unmount later does not reach the table, and what it lost it does not hold:
//! whatever is observed can be unmounted as before. Below `/sys` changes do reach it, because fusectl
//! is mounted when FUSE is loaded.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{
    config,
    daemon::mountinfo,
    mountinfo::{self as table, Line},
    mounts::covered,
    scope::{Scope, ScopeError},
};

/// The table of this very thread.
const OWN: &str = "thread-self";
/// Times the table is looked at until it holds only what it should: a mount made meanwhile may still
/// have reached it.
const ROUNDS_MAX: usize = 4;
/// The kernel's own, below `/sys`.
const BELOW_SYS: [&[u8]; 5] = [b"sysfs", b"tracefs", b"debugfs", b"securityfs", b"fusectl"];
/// What everybody needs, and the types it has there.
const KEPT: [(&[u8], &[&[u8]]); 3] = [
    (b"/proc", &[b"proc"]),
    (b"/dev", &[b"devtmpfs", b"tmpfs"]),
    (b"/run", &[b"tmpfs"]),
];

/// Why there is no table of our own.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum MountsError {
    /// Usually that `CAP_SYS_ADMIN` is missing.
    #[error("cannot make a mount table of our own: needs CAP_SYS_ADMIN at the start")]
    Unshare(#[source] io::Error),
    /// It would be changed for everybody.
    #[error("the mount table is still everybody's")]
    StillShared,
    /// Its changes would reach others.
    #[error("cannot separate {0}")]
    Separate(String, #[source] io::Error),
    /// It cannot be read.
    #[error("cannot read the mount table")]
    Read(#[source] io::Error),
    /// There is no table without it.
    #[error("the root file system is itself observed")]
    Root,
    /// Something observed could not be taken out.
    #[error("{0} is still in it")]
    Left(String),
    /// The configured scope.
    #[error("bad scope")]
    Scope(#[from] ScopeError),
}

/// What may not answer: what is observed, and what could be but for an exclusion.
#[derive(Debug)]
pub(super) struct Suspects {
    scope: Scope,
    remote: Scope,
}

impl Suspects {
    pub(super) fn new(scope: &config::Scope) -> Result<Self, ScopeError> {
        let remote = config::Scope {
            exclude_fstypes: Vec::new(),
            ..config::Scope::default()
        };
        // A local disk answers, observed or not: the configuration itself lies on one.
        let scope = config::Scope {
            local_filesystems: false,
            ..scope.clone()
        };
        Ok(Self {
            scope: Scope::new(&scope)?,
            remote: Scope::new(&remote)?,
        })
    }

    fn contain(&self, line: &Line) -> bool {
        self.scope.contains(line) || self.remote.contains(line) || line.fstype == b"autofs"
    }

    /// Whether the way to a path leads over one of them, as far as the text of the table tells.
    pub(super) fn are_on_the_way(&self, lines: &[Line], wanted: &Path) -> bool {
        above(lines, wanted).any(|line| self.contain(line))
    }
}

/// The lines of this thread's table to which paths lead, in the table's order.
pub(super) fn visible() -> Result<Vec<Line>, MountsError> {
    let bytes = mountinfo::read(&format!("/proc/{OWN}/mountinfo"));
    let lines = table::parse(&bytes.map_err(MountsError::Read)?.bytes).lines;
    let covered = covered(&lines);
    let lines = lines.into_iter().zip(covered);
    Ok(lines
        .filter_map(|(line, is_covered)| (!is_covered).then_some(line))
        .collect())
}

/// Gives this thread, and those it starts, a mount table of their own, with what `needed` lies on.
pub(super) fn separate(suspects: &Suspects, needed: &[PathBuf]) -> Result<(), MountsError> {
    let shared = namespace()?;
    if suspects.are_on_the_way(&visible()?, Path::new("/")) {
        return Err(MountsError::Root);
    }
    unshare()?;
    // Nothing below may ever concern the table of others.
    if namespace()? == shared {
        return Err(MountsError::StillShared);
    }
    change(
        b"/",
        MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM,
    )?;
    let lines = visible()?;
    for line in kept(&lines, suspects, needed) {
        if is_below_sys(line) {
            continue;
        }
        change(&line.mount_point, MountPropagationFlags::PRIVATE)?;
    }
    for _ in 0..ROUNDS_MAX {
        let lines = visible()?;
        let superfluous = superfluous(&lines, suspects, needed);
        if superfluous.is_empty() {
            return Ok(());
        }
        for line in superfluous {
            // It may have gone meanwhile. No file system is asked for its own mount point
            // (`LOOKUP_MOUNTPOINT`, `fs/namei.c`).
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            unmount(line.mount_point.as_slice(), flags).ok();
        }
    }
    let lines = visible()?;
    match lines.iter().find(|line| suspects.contain(line)) {
        Some(line) => Err(MountsError::Left(path(line).display().to_string())),
        None => Ok(()),
    }
}

#[expect(
    unsafe_code,
    reason = "some other flags would take a thread's descriptors away"
)]
fn unshare() -> Result<(), MountsError> {
    // SAFETY: the table of descriptors stays shared between the threads; only the mount namespace, and
    // with it the working directory, become this thread's own.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    unshared.map_err(|error| MountsError::Unshare(error.into()))
}

fn namespace() -> Result<u32, MountsError> {
    mountinfo::namespace_of(OWN).map_err(MountsError::Read)
}

fn change(mount_point: &[u8], flags: MountPropagationFlags) -> Result<(), MountsError> {
    let what = || String::from_utf8_lossy(mount_point).into_owned();
    mount_change(mount_point, flags).map_err(|error| MountsError::Separate(what(), error.into()))
}

/// The mounts that stay: the root, the kernel's own, and those on the way to a needed path, all of them:
/// what is below one that goes, goes with it. As far as none of them may not answer.
fn kept<'a>(lines: &'a [Line], suspects: &Suspects, needed: &[PathBuf]) -> Vec<&'a Line> {
    let reachable = needed
        .iter()
        .filter(|wanted| !suspects.are_on_the_way(lines, wanted));
    let on_the_way = reachable.flat_map(|wanted| above(lines, wanted));
    let on_the_way: BTreeSet<_> = on_the_way.map(|line| line.mount_id).collect();
    let is_usual = |line: &Line| {
        let is = |&(place, types): &(&[u8], &[&[u8]])| {
            line.mount_point == place && types.contains(&line.fstype.as_slice())
        };
        line.mount_point == b"/" || is_below_sys(line) || KEPT.iter().any(is)
    };
    lines
        .iter()
        .filter(|line| is_usual(line) || on_the_way.contains(&line.mount_id))
        .filter(|line| !suspects.are_on_the_way(lines, path(line)))
        .collect()
}

/// The mounts to take out; those below go with them, and are not named: the way there may lead over
/// one that does not answer.
fn superfluous<'a>(lines: &'a [Line], suspects: &Suspects, needed: &[PathBuf]) -> Vec<&'a Line> {
    let kept: BTreeSet<_> = kept(lines, suspects, needed)
        .into_iter()
        .map(|line| line.mount_id)
        .collect();
    let is_out = |line: &&Line| !kept.contains(&line.mount_id);
    let out: BTreeSet<_> = lines.iter().filter(is_out).map(path).collect();
    let is_topmost = |line: &&Line| {
        !path(line)
            .ancestors()
            .skip(1)
            .any(|above| out.contains(above))
    };
    let topmost = lines.iter().filter(is_out).filter(is_topmost);
    topmost.collect()
}

fn is_below_sys(line: &Line) -> bool {
    path(line).starts_with("/sys") && BELOW_SYS.contains(&line.fstype.as_slice())
}

/// The mounts on the way to a path, unless a link leads elsewhere.
fn above<'a>(lines: &'a [Line], wanted: &Path) -> impl Iterator<Item = &'a Line> {
    lines
        .iter()
        .filter(move |line| wanted.starts_with(path(line)))
}

fn path(line: &Line) -> &Path {
    Path::new(OsStr::from_bytes(&line.mount_point))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
1 0 8:1 / / rw - ext4 sda rw
2 1 0:2 / /sys rw - sysfs none rw
3 2 0:7 / /sys/fs/fuse/connections rw - fusectl none rw
4 2 0:50 / /sys/fs/odd rw - fuse.odd h: rw
5 1 0:8 / /run rw - tmpfs none rw
6 5 0:51 / /run/user/1/doc rw - fuse.portal portal rw
7 1 8:2 / /var rw - ext4 sdb rw
8 7 0:52 / /var/lib/far rw - nfs4 h:/ rw
12 8 8:4 / /var/lib/far/disk rw - ext4 sdd rw
13 7 8:5 / /var/lib/mount-observer rw - ext4 sde rw
9 1 8:3 / /media/usb rw - vfat sdc rw
10 1 0:3 / /proc rw - proc none rw
11 10 0:53 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
";

    fn names<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Vec<String> {
        let lines = lines.into_iter();
        lines.map(|line| path(line).display().to_string()).collect()
    }

    fn stays(needed: &[&str]) -> Vec<String> {
        let lines = table::parse(TABLE).lines;
        let suspects = Suspects::new(&config::Scope::default()).unwrap();
        let needed: Vec<_> = needed.iter().map(PathBuf::from).collect();
        names(kept(&lines, &suspects, &needed))
    }

    #[test]
    fn what_stays_is_the_root_the_kernels_own_and_what_is_needed() {
        let own = ["/", "/sys", "/sys/fs/fuse/connections", "/run", "/proc"];
        assert_eq!(stays(&[]), own);
        let with_var = [
            "/",
            "/sys",
            "/sys/fs/fuse/connections",
            "/run",
            "/var",
            "/var/lib/mount-observer",
            "/proc",
        ];
        assert_eq!(stays(&["/var/lib/mount-observer/x", "/etc"]), with_var);
        // Neither what may not answer, nor what lies behind it.
        assert_eq!(stays(&["/var/lib/far/textfiles"]), own);
        assert_eq!(stays(&["/var/lib/far/disk/x"]), own);
    }

    #[test]
    fn what_is_taken_out_is_reached_over_what_stays() {
        let lines = table::parse(TABLE).lines;
        let suspects = Suspects::new(&config::Scope::default()).unwrap();
        let out = |needed: &[PathBuf]| names(superfluous(&lines, &suspects, needed));
        let always = [
            "/sys/fs/odd",
            "/run/user/1/doc",
            "/media/usb",
            "/proc/sys/fs/binfmt_misc",
        ];
        let mut without_var = always.to_vec();
        without_var.insert(2, "/var");
        assert_eq!(out(&[]), without_var);
        let mut with_var = always.to_vec();
        with_var.splice(2..2, ["/var/lib/far", "/var/lib/mount-observer"]);
        assert_eq!(out(&["/var/x".into()]), with_var);
    }

    #[test]
    fn the_way_to_a_path_leads_over_every_mount_above_it() {
        let lines = table::parse(TABLE).lines;
        let suspects = Suspects::new(&config::Scope::default()).unwrap();
        let leads = |text: &str| suspects.are_on_the_way(&lines, Path::new(text));
        assert!(leads("/var/lib/far"));
        assert!(leads("/var/lib/far/disk/x"));
        assert!(!leads("/var/lib"));
        assert!(!leads("/var/lib/farther"));
    }
}

//! Privileges given up once everything is loaded and attached. Capabilities belong to a thread and
//! are inherited by the threads it starts, so each thread that runs already gives up its own.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// What the daemon goes on needing: maps and iterators, other processes' links, fusectl, symbols.
const NEEDED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYSLOG);

/// Keeps of this thread's capabilities, and of those started later, only what is needed. Where FUSE
/// may come as a module, programs are loaded for it later, and its BTF is for `CAP_SYS_ADMIN` alone
/// (`bpf_btf_get_fd_by_id`, `kernel/bpf/syscall.c`).
pub(super) fn confine(opens_module_btf: bool) -> io::Result<()> {
    let held = capabilities(None)?.permitted;
    // Before 5.8 there is no CAP_BPF, and CAP_SYS_ADMIN does what it does later.
    let needed = if held.contains(CapabilitySet::BPF) && !opens_module_btf {
        NEEDED
    } else {
        NEEDED.union(CapabilitySet::SYS_ADMIN)
    };
    keep(held.intersection(needed))
}

/// Keeps none: for a thread that only writes what it is handed.
pub(super) fn give_up_all() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
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
            confine(false).unwrap();
            let confined = capabilities(None).unwrap();
            give_up_all().unwrap();
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

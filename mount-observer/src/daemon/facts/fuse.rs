//! Where FUSE is, and its layout where nothing describes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
};

use mount_observer_common::ABSENT;

use crate::plan::{Fuse, Owner};

/// The struct whose owner is FUSE's.
pub(super) const MARK: &str = "fuse_conn";

/// Where FUSE is, by who describes its connection.
pub(super) fn presence(described_by: Option<&Owner>) -> Fuse {
    match described_by {
        Some(None) => Fuse::BuiltIn,
        Some(Some(_)) => Fuse::Module,
        None if loaded().is_some() => Fuse::BareModule,
        None => Fuse::Absent,
    }
}

/// Where it is, where no type information tells.
pub(super) fn presence_untold() -> Fuse {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = filesystems.lines().any(|line| line.ends_with("\tfuse"));
    match (loaded(), is_known) {
        (Some(_), _) => Fuse::BareModule,
        (None, true) => Fuse::BuiltIn,
        (None, false) => Fuse::Absent,
    }
}

/// FUSE as a loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Tells one loading from the next.
    pub identity: u64,
    /// Who holds it, we among them; `None` where the kernel unloads no modules.
    pub users: Option<u32>,
}

/// FUSE as a module; `None` when it is not loaded, or part of the kernel. Reads two files of sysfs,
/// which is never a mount that is watched.
pub fn loaded() -> Option<Loaded> {
    let mut state = File::open("/sys/module/fuse/initstate").ok()?;
    let mut text = String::new();
    state.read_to_string(&mut text).ok()?;
    if text.trim() != "live" {
        return None;
    }
    // Kernfs numbers its files one after the other (`__kernfs_new_node`, `fs/kernfs/dir.c`).
    let identity = state.metadata().ok()?.ino();
    let users = fs::read_to_string("/sys/module/fuse/refcnt").ok();
    let users = users.and_then(|users| users.trim().parse().ok());
    Some(Loaded { identity, users })
}

/// The fields of `fs/fuse/fuse_i.h` in 5.10.262, `CONFIG_VIRTIO_FS` as Debian 11 has it: laid out
/// by a compiler from that header. That release is the last whose modules have no BTF whatever the
/// configuration.
const LAYOUT: [(&str, u32); 21] = [
    ("OFF_REQ_LIST", 0),
    ("OFF_REQ_ARGS", 32),
    ("OFF_REQ_OPCODE", 60),
    ("OFF_REQ_UNIQUE", 64),
    ("OFF_REQ_NODEID", 72),
    ("OFF_REQ_PID", 88),
    ("OFF_REQ_ERROR", 100),
    ("OFF_REQ_FM", 144),
    ("OFF_ARGS_OPCODE", 8),
    ("OFF_ARGS_NODEID", 0),
    ("OFF_ARGS_IN", 24),
    ("OFF_FM_FC", 0),
    ("OFF_FM_SB", 16),
    ("OFF_FUD_CONN", 0),
    ("OFF_FUD_PROCESSING", 16),
    ("OFF_FUD_IO", 24),
    ("OFF_FC_DEV", 336),
    ("OFF_CONN_CONNECTED", 296),
    ("OFF_CONN_WAITING", 308),
    ("OFF_CONN_PENDING", 112),
    ("OFF_CONN_BG_QUEUE", 240),
];

/// What that layout is built from, by its size: lock debugging makes all of it larger.
pub(super) const GROUND: [(&str, u32); 5] = [
    ("list_head", 16),
    ("spinlock", 4),
    ("wait_queue_head", 24),
    ("callback_head", 16),
    ("rb_root", 8),
];

/// The helper that 5.10 brought, and the one that 5.11 did, with BTF for modules: between them lies
/// the release whose layout is known.
const ERA: (&str, &str) = ("this_cpu_ptr", "ktime_get_coarse_ns");

/// Fills in the layout where it can be that one, and says which offsets are assumed. Whether it is
/// shows at run time: what is read through it must name superblocks that exist.
pub(super) fn assume(
    offsets: &mut BTreeMap<String, u32>,
    helpers: &BTreeSet<&str>,
    size_of: impl Fn(&'static str) -> Option<u32>,
) -> BTreeSet<String> {
    let is_era = helpers.contains(ERA.0) && !helpers.contains(ERA.1);
    let is_ground = GROUND
        .iter()
        .all(|&(name, size)| size_of(name) == Some(size));
    if !is_era || !is_ground {
        return BTreeSet::new();
    }
    let mut assumed = BTreeSet::new();
    // `struct fuse_inode` begins with the kernel's `struct inode`, and goes on with its number.
    let node = size_of("inode").map(|size| ("OFF_FUSE_INODE_NODEID", size));
    for (name, offset) in LAYOUT.into_iter().chain(node) {
        if let Some(unknown) = offsets.get_mut(name)
            && *unknown == ABSENT
        {
            *unknown = offset;
            assumed.insert(name.to_owned());
        }
    }
    assumed
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELPERS_5_10: [&str; 2] = ["this_cpu_ptr", "probe_read_kernel"];

    fn nothing() -> BTreeMap<String, u32> {
        let names = ["OFF_FC_DEV", "OFF_REQ_CHAN", "OFF_SB_DEV"];
        let mut offsets: BTreeMap<_, _> = names.map(|name| (name.to_owned(), ABSENT)).into();
        offsets.insert("OFF_SB_DEV".to_owned(), 16);
        offsets
    }

    fn ground(name: &str) -> Option<u32> {
        let mut ground = GROUND.iter();
        ground
            .find(|(known, _)| *known == name)
            .map(|(_, size)| *size)
    }

    #[test]
    fn what_no_btf_tells_is_assumed_and_said_to_be() {
        let mut offsets = nothing();
        let assumed = assume(&mut offsets, &HELPERS_5_10.into(), ground);
        assert_eq!(assumed, ["OFF_FC_DEV".to_owned()].into());
        assert_eq!(offsets["OFF_FC_DEV"], 336);
        assert_eq!(offsets["OFF_REQ_CHAN"], ABSENT);
        assert_eq!(offsets["OFF_SB_DEV"], 16);
    }

    #[test]
    fn nothing_is_assumed_of_another_era_or_of_larger_locks() {
        let mut offsets = nothing();
        for helpers in [
            BTreeSet::from(["this_cpu_ptr", "ktime_get_coarse_ns"]),
            BTreeSet::from(["probe_read_kernel"]),
        ] {
            assert!(assume(&mut offsets, &helpers, ground).is_empty());
        }
        let debugged = |name| (name != "spinlock").then(|| ground(name).unwrap_or(0));
        assert!(assume(&mut offsets, &HELPERS_5_10.into(), debugged).is_empty());
        assert_eq!(offsets, nothing());
    }
}

//! Whether NFS is there, and its layout.

use std::{collections::BTreeMap, fs};

use mount_observer_common::{ABSENT, OFFSETS};

use crate::daemon::btf::{Btf, Kind};

/// Whether the kernel knows a filesystem of that type now.
pub(super) fn is_there() -> bool {
    is_listed(&fs::read_to_string("/proc/filesystems").unwrap_or_default())
}

fn is_listed(filesystems: &str) -> bool {
    let types = filesystems
        .lines()
        .filter_map(|line| line.split('\t').nth(1));
    types.into_iter().any(|name| matches!(name, "nfs" | "nfs4"))
}

/// Fills in what the kernel's own BTF does not tell. Up to 6.12 it describes NFS and its calls
/// (Debian's configurations), since 6.16 the module does.
pub(super) fn complete(offsets: &mut BTreeMap<String, u32>, mut btf: Btf) {
    let Ok(module) = fs::read("/sys/kernel/btf/nfs") else {
        return;
    };
    if let Err(error) = btf.replace_split("nfs", module) {
        tracing::warn!(%error, "cannot read the type information of NFS");
        return;
    }
    let structs = OFFSETS.iter().map(|path| (Kind::Struct, path.type_name));
    let found = btf.find(&structs.collect());
    for (global, offset) in btf.offsets(OFFSETS, &found) {
        if let Some(unknown) = offsets.get_mut(global)
            && *unknown == ABSENT
        {
            *unknown = offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_version_is_nfs_and_its_server_is_not() {
        assert!(is_listed("nodev\tsysfs\nnodev\tnfs4\n\text4\n"));
        assert!(is_listed("nodev\tnfs\n"));
        assert!(!is_listed("nodev\tnfsd\nnodev\trpc_pipefs\n\tnfs4x\n"));
        assert!(!is_listed(""));
    }
}

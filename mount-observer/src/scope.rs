//! Which mounts are observed.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use globset::{Glob, GlobSet, GlobSetBuilder};
use thiserror::Error;

use crate::{config, mountinfo::Line};

/// Filesystems on local disks, in scope with `local_filesystems`.
const LOCAL: [&str; 17] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "msdos",
    "nilfs2", "ntfs3", "overlay", "udf", "vfat", "xfs", "zfs",
];

/// A setting of `[scope]` that is no pattern.
#[derive(Debug, Error)]
#[error("scope.{key}: {pattern:?} is no pattern")]
pub struct ScopeError {
    /// The key.
    pub key: &'static str,
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: globset::Error,
}

/// `[scope]`, compiled.
#[derive(Clone, Debug)]
pub struct Scope {
    include_fstypes: GlobSet,
    exclude_fstypes: GlobSet,
    include_mount_points: GlobSet,
    exclude_mount_points: GlobSet,
    include_sources: GlobSet,
    exclude_sources: GlobSet,
    local_filesystems: bool,
}

impl Scope {
    /// Compiles the patterns.
    pub fn new(config: &config::Scope) -> Result<Self, ScopeError> {
        Ok(Self {
            include_fstypes: compile("include_fstypes", &config.include_fstypes)?,
            exclude_fstypes: compile("exclude_fstypes", &config.exclude_fstypes)?,
            include_mount_points: compile("include_mount_points", &config.include_mount_points)?,
            exclude_mount_points: compile("exclude_mount_points", &config.exclude_mount_points)?,
            include_sources: compile("include_sources", &config.include_sources)?,
            exclude_sources: compile("exclude_sources", &config.exclude_sources)?,
            local_filesystems: config.local_filesystems,
        })
    }

    /// Whether a mount is observed. What excludes wins. A superblock is observed when one of its
    /// mounts is: a bind mount in an excluded place does not hide it.
    pub fn contains(&self, line: &Line) -> bool {
        let fstype = as_path(&line.fstype);
        let mount_point = as_path(&line.mount_point);
        let source = as_path(&line.source);
        let is_excluded = self.exclude_fstypes.is_match(fstype)
            || self.exclude_mount_points.is_match(mount_point)
            || self.exclude_sources.is_match(source);
        !is_excluded
            && (self.include_fstypes.is_match(fstype)
                || self.include_mount_points.is_match(mount_point)
                || self.include_sources.is_match(source)
                || self.local_filesystems && is_local(&line.fstype))
    }
}

pub(crate) fn is_local(fstype: &[u8]) -> bool {
    LOCAL.iter().any(|known| known.as_bytes() == fstype)
}

/// Only a view for the matcher, which takes paths: nothing is resolved.
fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn compile(key: &'static str, patterns: &[String]) -> Result<GlobSet, ScopeError> {
    let mut set = GlobSetBuilder::new();
    let mut last = String::new();
    let error = |pattern: &str, source| ScopeError {
        key,
        pattern: pattern.to_owned(),
        source,
    };
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|source| error(pattern, source))?);
        last.clone_from(pattern);
    }
    set.build().map_err(|source| error(&last, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo::parse;

    fn contains(config: &config::Scope, line: &str) -> bool {
        let line = parse(format!("1 1 0:1 / {line} rw\n").as_bytes()).lines;
        Scope::new(config).unwrap().contains(&line[0])
    }

    #[test]
    fn the_default_takes_remote_and_fuse_and_leaves_helpers() {
        let config = config::Scope::default();
        for line in [
            "/a rw - fuse.sshfs host:",
            "/a rw - fuse x",
            "/a rw - fuseblk /dev/sda1",
            "/a rw - fuseblk.ntfs-3g /dev/sda1",
            "/a rw - nfs4 server:/x",
            "/a rw - 9p share",
        ] {
            assert!(contains(&config, line), "{line}");
        }
        for line in [
            "/a rw - ext4 /dev/sda1",
            "/a rw - fuse.lxcfs lxcfs",
            "/a rw - fusectl fusectl",
            "/a rw - fuse.portal portal",
        ] {
            assert!(!contains(&config, line), "{line}");
        }
    }

    #[test]
    fn patterns_add_and_remove() {
        let config = config::Scope {
            include_mount_points: vec!["/srv/*".to_owned()],
            include_sources: vec!["/dev/vd?".to_owned()],
            exclude_mount_points: vec!["/srv/tmp".to_owned()],
            exclude_sources: vec!["old:*".to_owned()],
            ..config::Scope::default()
        };
        assert!(contains(&config, "/srv/a rw - ext4 /dev/sda1"));
        assert!(contains(&config, "/x rw - xfs /dev/vdb"));
        assert!(!contains(&config, "/srv/tmp rw - nfs server:/x"));
        assert!(!contains(&config, "/a rw - nfs old:/x"));
        let local = config::Scope {
            local_filesystems: true,
            ..config
        };
        assert!(contains(&local, "/ rw - ext4 /dev/sda1"));
        assert!(!contains(&local, "/proc rw - proc proc"));
    }

    #[test]
    fn a_bad_pattern_names_its_key() {
        let config = config::Scope {
            exclude_sources: vec!["[".to_owned()],
            ..config::Scope::default()
        };
        let error = Scope::new(&config).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"scope.exclude_sources: "[" is no pattern"#
        );
    }
}

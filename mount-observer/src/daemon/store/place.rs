//! Where the journal is, found without ever resolving a path that lies on an observed mount: each
//! step is judged by the text of the mount table before it is taken.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Component, Path, PathBuf},
};

use super::StoreError;
use crate::{
    mountinfo::{Line, parse},
    mounts::covered,
    scope::{Scope, is_local},
    text,
};

/// Symbolic links on the way, as many as the kernel follows (`MAXSYMLINKS`, `include/linux/namei.h`).
const LINKS_MAX: usize = 40;

/// The uncovered mounts of a mount table that are observed, or not.
#[derive(Debug)]
pub(in crate::daemon) struct Table {
    mounts: Vec<(Line, bool)>,
}

impl Table {
    /// Takes the text of the own mount table.
    pub(in crate::daemon) fn new(mountinfo: &[u8], scope: &Scope) -> Self {
        let lines = parse(mountinfo).lines;
        let covered = covered(&lines);
        let mounts = lines.into_iter().zip(covered);
        let uncovered = mounts.filter(|(_, is_covered)| !is_covered);
        Self {
            mounts: uncovered
                .map(|(line, _)| {
                    // What stands on the disks of this machine may be observed too; there is no
                    // other place then, and if it hangs, so does everything.
                    let is_observed = scope.contains(&line) && !is_local(&line.fstype);
                    (line, is_observed)
                })
                .collect(),
        }
    }

    /// The observed mount that an absolute path without links lies on.
    fn observed(&self, path: &Path) -> Option<&Line> {
        let is_on = |(line, _): &&(Line, bool)| {
            path.starts_with(Path::new(std::ffi::OsStr::from_bytes(&line.mount_point)))
        };
        let on = self.mounts.iter().filter(is_on);
        let (line, is_observed) = on.max_by_key(|(line, _)| line.mount_point.len())?;
        is_observed.then_some(line)
    }
}

/// The directory with every link on the way resolved; it need not exist.
pub(in crate::daemon) fn resolve(directory: &Path, table: &Table) -> Result<PathBuf, StoreError> {
    let absolute = std::path::absolute(directory).map_err(|source| StoreError::File {
        what: "find",
        path: directory.to_owned(),
        source,
    })?;
    let mut rest = steps(&absolute);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        if let Some(line) = table.observed(&next) {
            return Err(StoreError::Observed {
                directory: directory.to_owned(),
                mount_point: text::escaped(&line.mount_point),
                fstype: text::escaped(&line.fstype),
            });
        }
        match std::fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(StoreError::File {
                        what: "find",
                        path: directory.to_owned(),
                        source: io::Error::other("too many symbolic links"),
                    });
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut longer = steps(&target);
                longer.extend(rest);
                rest = longer;
            }
            // No link, or not there; whoever opens it learns more.
            Err(_) => at = next,
        }
    }
    Ok(at)
}

/// Makes the directory where it is missing, for root and its group alone: what is kept names
/// processes and paths.
pub(super) fn create(directory: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o750).create(directory);
    made.map_err(|source| StoreError::File {
        what: "make the directory",
        path: directory.to_owned(),
        source,
    })
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn table(lines: &str) -> Table {
        let scope = Scope::new(&config::Scope::default()).unwrap();
        Table::new(lines.as_bytes(), &scope)
    }

    #[test]
    fn a_directory_on_an_observed_mount_is_refused_by_the_table_alone() {
        let table = table(
            "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             2 1 0:45 / /mnt/a rw - fuse.sshfs host: rw\n\
             3 2 0:46 / /mnt/a/local rw - tmpfs tmpfs rw\n",
        );
        let error = resolve(Path::new("/mnt/a/journal"), &table).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/mnt/a/journal lies on /mnt/a (fuse.sshfs), which is observed and may hang: keep the \
             journal on a local disk (storage.path, --storage.path), or take that mount out of [scope]"
        );
        // Also what another filesystem covers is reached only through it.
        assert!(resolve(Path::new("/mnt/a/local/journal"), &table).is_err());
        assert_eq!(
            resolve(Path::new("/mnt/ab/../ac/journal"), &table).unwrap(),
            Path::new("/mnt/ac/journal")
        );
    }

    #[test]
    fn a_link_onto_an_observed_mount_is_not_followed() {
        let table = table(
            "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             2 1 0:45 / /proc rw - nfs4 server:/x rw\n",
        );
        let link = std::env::temp_dir().join(format!("journal-link-{}", std::process::id()));
        std::os::unix::fs::symlink("/proc/journal", &link).unwrap();
        let refused = resolve(&link.join("below"), &table);
        std::fs::remove_file(&link).unwrap();
        assert!(
            matches!(refused, Err(StoreError::Observed { .. })),
            "{refused:?}"
        );
    }
}

//! One daemon to a journal: a second would take over what the first has open, and end it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{StoreError, database::adopt, place};

/// Beside the database: to lock that would keep those out who read it or silence.
const FILE: &str = "incidents.lock";

/// Held for as long as this process writes. The kernel gives it up with the process, however that
/// ends (flock(2)).
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes that of a directory that was judged before, making both where they are missing; at once,
    /// or not at all.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        place::create(directory)?;
        let path = directory.join(FILE);
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).mode(0o640).open(&path);
        let failed = |what, source| {
            let path = path.clone();
            StoreError::File { what, path, source }
        };
        let file = opened.map_err(|source| failed("open", source))?;
        match file.try_lock() {
            Ok(()) => {
                adopt(&file, directory);
                Ok(Self { file, path })
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::Held { path }),
            Err(TryLockError::Error(source)) => Err(failed("lock", source)),
        }
    }

    /// Whether it is that of this directory still, and not of a file that was removed or replaced.
    pub(super) fn is_of(&self, directory: &Path) -> bool {
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let held = self.file.metadata().map(identity).ok();
        let path = directory.join(FILE);
        // The path was judged before, and nothing on it can hang that does not hang the writing itself.
        let there = rustix::fs::stat(&path).ok();
        let there = there.map(|found| (found.st_dev, found.st_ino));
        path == self.path && held.is_some() && held == there
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close it would not do while a process that is being started has its descriptor too.
        self.file.unlock().ok();
    }
}

//! The files there are, computed from their names: nothing is stored.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

/// Size of every regular file, bytes.
pub(super) const FILE_BYTES: u64 = 4096;

/// The one subdirectory.
pub(super) const DIRECTORY: INodeNo = INodeNo(2);

/// Below this, directories; from here on, regular files.
const FIRST_FILE: u64 = 16;

/// The inode a name leads to in either directory.
pub(super) fn lookup(name: &OsStr) -> Option<INodeNo> {
    let name = name.as_bytes();
    if name == b"directory" {
        return Some(DIRECTORY);
    }
    name.starts_with(b"file")
        .then(|| INodeNo(file_number(name)))
}

/// FNV-1a over the name: names of one test are few, so that they do not collide.
fn file_number(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(FIRST_FILE)
}

/// What `stat` shows of an inode.
pub(super) fn attributes(ino: INodeNo) -> FileAttr {
    let is_file = ino.0 >= FIRST_FILE;
    FileAttr {
        ino,
        size: if is_file { FILE_BYTES } else { 0 },
        blocks: if is_file { FILE_BYTES / 512 } else { 0 },
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file {
            FileType::RegularFile
        } else {
            FileType::Directory
        },
        perm: if is_file { 0o666 } else { 0o777 },
        nlink: if is_file { 1 } else { 2 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_begin_with_file_and_the_directory_exist() {
        assert_eq!(lookup(OsStr::new("directory")), Some(DIRECTORY));
        assert_eq!(lookup(OsStr::new("missing")), None);
        let file = lookup(OsStr::new("file")).unwrap();
        let other = lookup(OsStr::new("file1")).unwrap();
        assert_ne!(file, other);
        assert_eq!(attributes(file).kind, FileType::RegularFile);
        assert_eq!(attributes(INodeNo::ROOT).kind, FileType::Directory);
    }
}

//! Rows about files that are open for writing.

use mount_observer_common::{FileRow, PathForm};
use zerocopy::FromBytes;

use super::{Caller, caller, dev};
use crate::superblock::Dev;

/// A file that a process has open for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The superblock.
    pub dev: Dev,
    /// Who; of its threads the first that shares the descriptor.
    pub caller: Caller,
    /// The descriptor.
    pub fd: u32,
    /// Where its writer stands.
    pub position: u64,
    /// Its size as the kernel knows it.
    pub length: u64,
    /// The FUSE node, where known.
    pub nodeid: Option<u64>,
    /// What it is called, where that could be read.
    pub name: Option<Name>,
}

/// What a file is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Its path as the kernel shows it.
    Path(Vec<u8>),
    /// Its path below the root of its filesystem, without a slash at the start.
    Below(Vec<u8>),
    /// The end of it: the directories further up are not known.
    End(Vec<u8>),
}

pub(super) fn file(bytes: &[u8]) -> Option<File> {
    let (row, rest) = FileRow::read_from_prefix(bytes).ok()?;
    let text = rest.get(..usize::try_from(row.path_len).ok()?)?;
    Some(File {
        dev: dev(row.dev)?,
        caller: caller(row.tgid, row.tid, &row.comm),
        fd: row.fd,
        position: row.position,
        length: row.length,
        nodeid: (row.nodeid != 0).then_some(row.nodeid),
        name: name(row.path_form, text),
    })
}

fn name(form: u32, text: &[u8]) -> Option<Name> {
    let is = |wanted: PathForm| {
        #[expect(
            clippy::as_conversions,
            reason = "the discriminant of a repr(u32) enum"
        )]
        let number = wanted as u32;
        form == number && !text.is_empty()
    };
    if is(PathForm::Path) {
        Some(Name::Path(text.to_vec()))
    } else if is(PathForm::Names) {
        Some(Name::Below(joined(text)))
    } else if is(PathForm::LastNames) {
        Some(Name::End(joined(text)))
    } else {
        None
    }
}

/// The names in the other order, with a slash between.
fn joined(text: &[u8]) -> Vec<u8> {
    let names = text.strip_suffix(b"\0").unwrap_or(text);
    let names: Vec<&[u8]> = names.split(|&byte| byte == 0).rev().collect();
    names.join(&b'/')
}

#[cfg(test)]
mod tests {
    use mount_observer_common::COMM_BYTES;
    use zerocopy::IntoBytes;

    use super::*;

    fn row(form: u32, text: &[u8]) -> Vec<u8> {
        let padded = text.len().next_multiple_of(8);
        let row = FileRow {
            kind: 4,
            size: u32::try_from(size_of::<FileRow>() + padded).unwrap(),
            position: 10,
            length: 20,
            nodeid: 7,
            inode: 7,
            tgid: 100,
            tid: 100,
            fd: 3,
            dev: 52,
            path_form: form,
            path_len: u32::try_from(text.len()).unwrap(),
            comm: [0; COMM_BYTES],
        };
        let mut bytes = row.as_bytes().to_vec();
        bytes.extend(text);
        bytes.resize(size_of::<FileRow>() + padded, 0);
        bytes
    }

    #[test]
    fn a_path_comes_as_the_kernel_shows_it_or_name_by_name_from_the_end() {
        let name = |form, text: &[u8]| file(&row(form, text)).unwrap().name;
        assert_eq!(name(1, b"/mnt/a"), Some(Name::Path(b"/mnt/a".to_vec())));
        assert_eq!(name(2, b"c\0b\0a\0"), Some(Name::Below(b"a/b/c".to_vec())));
        assert_eq!(name(3, b"c\0b\0"), Some(Name::End(b"b/c".to_vec())));
        assert_eq!(name(0, b""), None);
        assert_eq!(name(9, b"x"), None);
    }

    #[test]
    fn a_row_that_is_cut_is_none() {
        let bytes = row(1, b"/mnt/a");
        assert!(file(&bytes).is_some());
        assert_eq!(file(&bytes[..bytes.len() - 3]), None);
    }

    #[test]
    fn rows_of_different_lengths_follow_each_other() {
        let mut bytes = row(1, b"/mnt/a");
        bytes.extend(row(0, b""));
        bytes.extend(row(1, b"/mnt/a/longer"));
        let (rows, bad) = crate::decode::rows(&bytes);
        assert_eq!((rows.len(), bad), (3, 0));
    }
}

//! The fusectl filesystem: how many requests each FUSE connection waits for. Reading it waits for
//! no server (`fs/fuse/control.c`); writing to it aborts connections, which we never do.

use std::{ffi::CStr, io};

use rustix::fs::{CWD, Dir, Mode, OFlags, fstatfs, openat};

use crate::superblock::Dev;

/// `FUSE_CTL_SUPER_MAGIC`, `fs/fuse/control.c`.
const MAGIC: u64 = 0x6573_5543;
/// Connections read at a time.
const CONNECTIONS_MAX: usize = 16_384;

/// `waiting` of every connection.
pub fn waiting(mount_point: &[u8]) -> io::Result<Vec<(Dev, u32)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, mount_point, flags, Mode::empty())?;
    if u64::try_from(fstatfs(&root)?.f_type).ok() != Some(MAGIC) {
        return Err(io::Error::other("fusectl is not what is mounted there"));
    }
    let mut waiting = Vec::new();
    for entry in Dir::read_from(&root)? {
        let entry = entry?;
        if let Some(dev) = connection(entry.file_name())
            && waiting.len() < CONNECTIONS_MAX
            && let Ok(count) = read_count(&root, entry.file_name())
        {
            waiting.push((dev, count));
        }
    }
    Ok(waiting)
}

/// A directory is named by the decimal `s_dev` of its superblock (`fuse_ctl_add_conn`).
fn connection(name: &CStr) -> Option<Dev> {
    name.to_str().ok()?.parse().ok().map(Dev)
}

fn read_count(root: &impl std::os::fd::AsFd, connection: &CStr) -> io::Result<u32> {
    let mut path = connection.to_bytes().to_vec();
    path.extend_from_slice(b"/waiting");
    let file = openat(root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut digits = [0; 16];
    let length = rustix::io::read(&file, &mut digits)?;
    parse_count(digits.get(..length).unwrap_or_default())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_count(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_devices_and_contents_are_counts() {
        assert_eq!(connection(c"52"), Some(Dev(52)));
        assert_eq!(connection(c".."), None);
        assert_eq!(parse_count(b"7\n"), Some(7));
        assert_eq!(parse_count(b"7"), Some(7));
        assert_eq!(parse_count(b""), None);
    }

    #[test]
    fn another_filesystem_is_not_taken_for_it() {
        let error = waiting(b"/proc").unwrap_err().to_string();
        assert!(error.contains("not what is mounted"), "{error}");
    }
}

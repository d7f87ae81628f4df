//! Who keeps a filesystem busy: open files, working directories and roots, from procfs alone. A link
//! there is read and never followed, and `fdinfo` is written by the kernel from the open file
//! (`seq_show`, `fs/proc/fd.c`): neither asks the filesystem.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::fd::AsFd,
};

use rustix::fs::{Dir, Mode, OFlags, open, openat, readlinkat};

use crate::render::explain::{Opener, Openers};

/// Bytes of one `fdinfo` that are read: `mnt_id` is the third line (`seq_show`, `fs/proc/fd.c`).
const FDINFO_BYTES_MAX: u64 = 512;

/// Descriptors looked at in all: a host with more is told so.
const DESCRIPTORS_MAX: u64 = 1_000_000;

/// Every process that has something open on one of these mounts, by mount id: unique over all mount
/// namespaces. `is_on` says whether a path of this namespace lies there: where a process works is known
/// by its path alone.
pub(super) fn openers(mount_ids: &BTreeSet<u32>, is_on: &dyn Fn(&[u8]) -> bool) -> Openers {
    let mut found = Openers::default();
    let Ok(processes) = numbers("/proc") else {
        found.is_cut = true;
        return found;
    };
    for pid in processes {
        match of(pid, mount_ids, is_on, &mut found.descriptors) {
            Ok(Some(opener)) => found.processes.push(opener),
            Ok(None) => {}
            Err(error) if is_gone(&error) => {}
            Err(_) => found.unreadable.push(pid),
        }
        if found.descriptors > DESCRIPTORS_MAX {
            found.is_cut = true;
            break;
        }
    }
    found
        .processes
        .sort_by_key(|opener| (Reverse(opener.files), opener.pid));
    found
}

fn of(
    pid: u32,
    mount_ids: &BTreeSet<u32>,
    is_on: &dyn Fn(&[u8]) -> bool,
    looked_at: &mut u64,
) -> io::Result<Option<Opener>> {
    let place = format!("/proc/{pid}");
    let process = open(&place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let leads_there = |link: &str| {
        let to = readlinkat(&process, link, Vec::new());
        to.is_ok_and(|to| is_on(to.as_bytes()))
    };
    let mut files = 0;
    for fd in numbers(&format!("{place}/fdinfo"))? {
        *looked_at += 1;
        let mount = mount_of(process.as_fd(), fd);
        files += u64::from(mount.is_some_and(|mount| mount_ids.contains(&mount)));
    }
    let opener = Opener {
        pid,
        comm: comm(&place),
        files,
        works_there: leads_there("cwd"),
        has_root_there: leads_there("root"),
    };
    let is_one = opener.files > 0 || opener.works_there || opener.has_root_there;
    Ok(is_one.then_some(opener))
}

fn mount_of(process: impl AsFd, fd: u32) -> Option<u32> {
    let info = openat(
        process,
        format!("fdinfo/{fd}"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut text = String::new();
    let mut info = File::from(info.ok()?).take(FDINFO_BYTES_MAX);
    info.read_to_string(&mut text).ok()?;
    mount_id(&text)
}

fn mount_id(fdinfo: &str) -> Option<u32> {
    let mut lines = fdinfo.lines();
    let id = lines.find_map(|line| line.strip_prefix("mnt_id:"))?;
    id.trim().parse().ok()
}

fn comm(place: &str) -> String {
    let name = fs::read(format!("{place}/comm")).unwrap_or_default();
    crate::text::lossy(name.trim_ascii_end())
}

/// The entries of a directory of procfs that are numbers.
fn numbers(directory: &str) -> io::Result<Vec<u32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = Dir::read_from(open(directory, flags, Mode::empty())?)?;
    let number = |entry: Result<rustix::fs::DirEntry, _>| {
        entry.ok()?.file_name().to_str().ok()?.parse::<u32>().ok()
    };
    Ok(entries.filter_map(number).collect())
}

/// It ended while it was looked at.
fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || code == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_an_open_file_is_in_its_fdinfo() {
        assert_eq!(
            mount_id("pos:\t0\nflags:\t0100000\nmnt_id:\t29\nino:\t5\n"),
            Some(29)
        );
        assert_eq!(mount_id("pos:\t0\nflags:\t02\n"), None);
        assert_eq!(mount_id("mnt_id:\tx\n"), None);
    }

    #[test]
    fn this_process_is_found_by_its_open_file_and_its_working_directory() {
        let file = File::open("/proc/self/mountinfo").unwrap();
        let own = std::process::id();
        let process = open(format!("/proc/{own}"), OFlags::PATH, Mode::empty()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mount = mount_of(process.as_fd(), u32::try_from(fd).unwrap()).unwrap();
        let found = openers(&[mount].into(), &|_| false);
        let is_own = |opener: &&Opener| opener.pid == own;
        let opener = found.processes.iter().find(is_own).unwrap();
        assert!(opener.files > 0 && !opener.works_there, "{opener:?}");
        assert!(!opener.comm.is_empty());
        let everywhere = openers(&BTreeSet::new(), &|_| true);
        let opener = everywhere.processes.iter().find(is_own).unwrap();
        assert!(opener.works_there && opener.has_root_there);
        assert_eq!(opener.files, 0);
    }
}

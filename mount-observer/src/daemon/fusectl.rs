//! The fusectl filesystem: how many requests each FUSE connection waits for. Reading it waits for
//! no server (`fs/fuse/control.c`); writing to it aborts connections, which we never do.
//!
//! Its path is walked once, and only where no mount on the way could make the walk wait: fusectl
//! may be mounted below an observed mount (`mount --rbind /sys` into a chroot on sshfs). From then
//! on everything is opened relative to that descriptor.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags, fstatfs, openat2};

use crate::{
    config,
    mountinfo::{self, Line},
    mounts::covered,
    scope::Scope,
    superblock::Dev,
};

/// `FUSE_CTL_SUPER_MAGIC`, `fs/fuse/control.c`.
const MAGIC: u64 = 0x6573_5543;
/// Connections read at a time.
const CONNECTIONS_MAX: usize = 16_384;
/// Where everybody mounts it.
const USUAL: &[u8] = b"/sys/fs/fuse/connections";
/// Filesystems a walk may pass below the root: they live in memory and ask nobody.
const PSEUDO: &[&[u8]] = &[b"sysfs", b"tmpfs", b"ramfs", b"devtmpfs"];

/// Where to reach fusectl without passing a filesystem that may not answer; the usual place first.
pub fn mount_point(table: &[u8]) -> Option<Vec<u8>> {
    let lines = mountinfo::parse(table).lines;
    let covered = covered(&lines);
    let reachable: Vec<&Line> = lines
        .iter()
        .zip(&covered)
        .filter(|(_, is_covered)| !**is_covered)
        .map(|(line, _)| line)
        .collect();
    let is_safe = |line: &&&Line| {
        let is_on_the_way =
            |other: &&&Line| Path::new(path(line)).starts_with(Path::new(path(other)));
        let mut passed = reachable.iter().filter(is_on_the_way);
        passed.all(|other| other.mount_id == line.mount_id || never_waits(other))
    };
    let is_whole = |line: &&&Line| line.fstype == b"fusectl" && line.root == b"/";
    let candidates = reachable.iter().filter(is_whole).filter(is_safe);
    candidates
        .min_by_key(|line| line.mount_point != USUAL)
        .map(|line| line.mount_point.clone())
}

fn path(line: &Line) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(&line.mount_point)
}

/// The root may be a disk's: nothing can be done without walking through it.
fn never_waits(line: &Line) -> bool {
    let is_remote = || {
        let usual = Scope::new(&config::Scope::default());
        usual.is_ok_and(|scope| scope.contains(line))
    };
    PSEUDO.contains(&line.fstype.as_slice()) || (line.mount_point == b"/" && !is_remote())
}

/// The filesystem, opened once. While it is held nobody can unmount it, which `umount -l` can.
#[derive(Debug)]
pub struct Fusectl(OwnedFd);

impl Fusectl {
    /// Opens it at a place that [`mount_point`] found.
    pub fn open(mount_point: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS;
        let root = openat2(CWD, mount_point, flags, Mode::empty(), resolve)?;
        if u64::try_from(fstatfs(&root)?.f_type).ok() != Some(MAGIC) {
            return Err(io::Error::other("fusectl is not what is mounted there"));
        }
        Ok(Self(root))
    }

    /// `waiting` of every connection.
    pub fn waiting(&self) -> io::Result<Vec<(Dev, u32)>> {
        let root = inside(&self.0, ".", OFlags::DIRECTORY)?;
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
}

/// How fusectl is reached.
#[derive(Debug)]
pub enum Access {
    /// Through what was opened at the start.
    Held(Fusectl),
    /// Looked for and opened each time: it belongs to the module, which nobody could unload while it
    /// is held.
    EachTime,
}

impl Access {
    /// `waiting` of every connection; `None` where fusectl is not mounted.
    pub fn waiting(&self) -> io::Result<Option<Vec<(Dev, u32)>>> {
        match self {
            Self::Held(fusectl) => fusectl.waiting().map(Some),
            Self::EachTime => match mount_point(&fs::read("/proc/self/mountinfo")?) {
                Some(place) => Fusectl::open(&place)?.waiting().map(Some),
                None => Ok(None),
            },
        }
    }
}

/// Opens something of the same filesystem: whatever may be mounted on it is not entered.
fn inside(root: &impl AsFd, path: impl rustix::path::Arg, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// A directory is named by the decimal `s_dev` of its superblock (`fuse_ctl_add_conn`).
fn connection(name: &CStr) -> Option<Dev> {
    name.to_str().ok()?.parse().ok().map(Dev)
}

fn read_count(root: &impl AsFd, connection: &CStr) -> io::Result<u32> {
    let mut path = connection.to_bytes().to_vec();
    path.extend_from_slice(b"/waiting");
    let file = inside(root, path, OFlags::empty())?;
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
        let error = Fusectl::open(b"/proc").unwrap_err().to_string();
        assert!(error.contains("not what is mounted"), "{error}");
    }

    /// A table whose root is a disk with sysfs, and what is mounted besides.
    fn found(rest: &str) -> Option<String> {
        let table =
            format!("1 0 8:1 / / rw - ext4 sda rw\n2 1 0:2 / /sys rw - sysfs none rw\n{rest}");
        mount_point(table.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn the_usual_place_wins_whatever_comes_after_it() {
        let rest = "4 2 0:5 / /x rw shared:1 master:2 - tmpfs fusectl rw\n\
            6 2 0:7 / /sys/fs/fuse/connections rw shared:9 - fusectl none rw\n\
            7 1 0:8 / /run rw - tmpfs none rw\n\
            8 7 0:7 / /run/a\\040b rw - fusectl none rw\n";
        assert_eq!(found(rest).as_deref(), Some("/sys/fs/fuse/connections"));
        let rest =
            "7 1 0:8 / /run rw - tmpfs none rw\n8 7 0:7 / /run/a\\040b rw - fusectl none rw\n";
        assert_eq!(found(rest).as_deref(), Some("/run/a b"));
        assert_eq!(found(""), None);
    }

    #[test]
    fn no_way_leads_through_a_mount_that_may_not_answer() {
        let below = "3 1 0:50 / /chroot rw - fuse.sshfs h: rw\n\
            4 3 0:2 / /chroot/sys rw - sysfs none rw\n\
            5 4 0:7 / /chroot/sys/fs/fuse/connections rw - fusectl none rw\n";
        assert_eq!(found(below), None);
        let usual_too = format!("{below}6 2 0:7 / /sys/fs/fuse/connections rw - fusectl none rw\n");
        assert_eq!(
            found(&usual_too).as_deref(),
            Some("/sys/fs/fuse/connections")
        );
        let nfs_root = "1 0 0:9 / / rw - nfs h:/ rw\n2 1 0:2 / /sys rw - sysfs none rw\n\
            6 2 0:7 / /sys/fs/fuse/connections rw - fusectl none rw\n";
        assert_eq!(mount_point(nfs_root.as_bytes()), None);
    }

    #[test]
    fn a_covered_or_partial_one_is_not_taken() {
        let covered = "6 2 0:7 / /sys/fs/fuse/connections rw - fusectl none rw\n\
            7 6 0:50 / /sys/fs/fuse/connections rw - fuse.sshfs h: rw\n";
        assert_eq!(found(covered), None);
        let partial = "6 2 0:7 /52 /sys/fs/fuse/connections rw - fusectl none rw\n";
        assert_eq!(found(partial), None);
    }
}

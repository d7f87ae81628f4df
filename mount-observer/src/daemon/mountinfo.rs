//! The mount table of the observer's own namespace: read at start and at every change.
//!
//! The kernel tells of a change through `poll(2)` on an open table (`mounts_poll`,
//! `fs/proc_namespace.c`). Only the own namespace is watched so: an open table keeps its mount
//! namespace, and with it its mounts, alive.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::readlink,
};
use tokio::sync::mpsc;

use super::{clock, http::Heartbeats};
use crate::time::Mono;

/// The table of this process: once the daemon is confined, one without the observed mounts.
pub const OWN: &str = "/proc/self/mountinfo";

/// Bytes read at a time; the kernel hands out a page or one line.
const READ_BYTES: usize = 4096;

/// Without a change the thread still wakes up this often, to show that it lives.
const IDLE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};
/// Pause after a read, in multiples of what it took: a storm of mounts costs 5 % of a core at most.
const PAUSE_FACTOR: u32 = 20;
/// Shortest pause after a read: a container that starts changes the table dozens of times.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Tables that wait for the loop; it takes them at once, or has more urgent worries.
pub const QUEUE_MAX: usize = 2;

/// A mount table as one reader found it.
#[derive(Debug)]
pub struct Table {
    /// When reading began.
    pub read_at: Mono,
    /// The file's content.
    pub bytes: Vec<u8>,
}

/// The table of the namespace the observer was started in, opened there: it shows that namespace also
/// to threads that have left it (`struct proc_mounts`, `fs/mount.h`).
#[derive(Debug)]
pub struct OwnTable {
    namespace: u32,
    file: File,
    /// Another: each remembers which changes it was told of.
    watched: File,
}

impl OwnTable {
    /// Opens it. Called before anything is confined.
    pub fn open() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            namespace: namespace_of("self")?,
            file: File::open(OWN)?,
            watched: File::open(OWN)?,
        }))
    }

    /// This process's, as if it were another's.
    #[cfg(test)]
    pub(super) fn of_namespace(namespace: u32) -> Arc<Self> {
        Arc::new(Self {
            namespace,
            file: File::open(OWN).unwrap(),
            watched: File::open(OWN).unwrap(),
        })
    }

    /// The namespace's number.
    pub const fn namespace(&self) -> u32 {
        self.namespace
    }

    /// Reads it now.
    pub fn read(&self) -> io::Result<Table> {
        Ok(Table {
            read_at: clock::now().mono,
            bytes: read_whole(&self.file)?,
        })
    }

    /// Sends it to the loop at every change, from a thread of its own.
    pub fn watch(
        self: &Arc<Self>,
        tables: mpsc::Sender<Table>,
        heartbeats: Arc<Heartbeats>,
    ) -> io::Result<()> {
        let own = Arc::clone(self);
        thread::Builder::new()
            .name("mountinfo".to_owned())
            .spawn(move || {
                if let Err(error) = follow(&own.watched, &tables, &heartbeats) {
                    tracing::error!(%error, "cannot follow the mount table");
                }
            })
            .map(drop)
    }
}

/// From its beginning, wherever others are reading.
fn read_whole(table: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.len();
        bytes.resize(end + READ_BYTES, 0);
        let buffer = bytes.get_mut(end..).unwrap_or_default();
        let offset = u64::try_from(end).map_err(io::Error::other)?;
        let read = table.read_at(buffer, offset);
        bytes.truncate(end + read.as_ref().map_or(0, |&count| count));
        match read {
            Ok(0) => return Ok(bytes),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Ends when the loop has gone.
fn follow(table: &File, tables: &mpsc::Sender<Table>, heartbeats: &Heartbeats) -> io::Result<()> {
    loop {
        Heartbeats::beat(&heartbeats.mountinfo, clock::now().wall);
        let mut fd = [PollFd::new(table, PollFlags::PRI)];
        let is_changed = match poll(&mut fd, Some(&IDLE)) {
            Ok(changed) => changed > 0,
            Err(rustix::io::Errno::INTR) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_changed {
            continue;
        }
        let begun = clock::thread_cpu();
        let read_at = clock::now().mono;
        let bytes = read_whole(table)?;
        let cost = clock::thread_cpu().since(begun);
        if tables.blocking_send(Table { read_at, bytes }).is_err() {
            return Ok(());
        }
        pause((cost * PAUSE_FACTOR).max(PAUSE_MIN));
    }
}

fn pause(time: Duration) {
    if let Ok(time) = Timespec::try_from(time) {
        // An early end by a signal only means that the next change is read sooner.
        poll(&mut [], Some(&time)).ok();
    }
}

/// Reads the table of this process now.
pub fn read_own() -> io::Result<Table> {
    read(OWN)
}

/// Reads a table, and notes when.
pub fn read(path: &str) -> io::Result<Table> {
    Ok(Table {
        read_at: clock::now().mono,
        bytes: fs::read(path)?,
    })
}

/// Inode number of a process's mount namespace (`mnt:[4026531841]`), without entering it.
pub fn namespace_of(process: &str) -> io::Result<u32> {
    let link = readlink(format!("/proc/{process}/ns/mnt"), Vec::new())?;
    parse_namespace(link.as_bytes()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The number in `mnt:[4026531841]`.
pub(super) fn parse_namespace(link: &[u8]) -> Option<u32> {
    let number = link.strip_prefix(b"mnt:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_link_has_its_number_in_brackets() {
        assert_eq!(parse_namespace(b"mnt:[4026531841]"), Some(4_026_531_841));
        assert_eq!(parse_namespace(b"mnt:[]"), None);
        assert_eq!(parse_namespace(b"net:[4026531841]"), None);
        assert_eq!(parse_namespace(b"mnt:[99999999999]"), None);
    }

    #[test]
    fn the_own_namespace_and_table_can_be_read() {
        let own = OwnTable::open().unwrap();
        assert!(own.namespace() > 0);
        let bytes = own.read().unwrap().bytes;
        assert!(bytes.ends_with(b"\n"));
        assert_eq!(bytes, fs::read(OWN).unwrap());
    }
}

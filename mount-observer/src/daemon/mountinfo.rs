//! The mount table of the observer's own namespace: read at start and at every change.
//!
//! The kernel tells of a change through `poll(2)` on an open table (`mounts_poll`,
//! `fs/proc_namespace.c`). Only the own namespace is watched so: an open table keeps its mount
//! namespace, and with it its mounts, alive.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
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

/// The observer's own table.
pub const OWN: &str = "/proc/self/mountinfo";

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

/// Sends the own table to the loop at every change, from a thread of its own.
pub fn watch(tables: mpsc::Sender<Table>, heartbeats: Arc<Heartbeats>) -> io::Result<()> {
    let table = File::open(OWN)?;
    thread::Builder::new()
        .name("mountinfo".to_owned())
        .spawn(move || {
            if let Err(error) = follow(table, &tables, &heartbeats) {
                tracing::error!(%error, "cannot follow the mount table");
            }
        })
        .map(drop)
}

/// Ends when the loop has gone.
fn follow(
    mut table: File,
    tables: &mpsc::Sender<Table>,
    heartbeats: &Heartbeats,
) -> io::Result<()> {
    loop {
        Heartbeats::beat(&heartbeats.mountinfo, clock::now().wall);
        let mut fd = [PollFd::new(&table, PollFlags::PRI)];
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
        table.rewind()?;
        let mut bytes = Vec::new();
        table.read_to_end(&mut bytes)?;
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

/// Reads the own table now.
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
        assert!(namespace_of("self").unwrap() > 0);
        assert!(read_own().unwrap().bytes.ends_with(b"\n"));
    }
}

//! Iterator runs, and the check of one connection. All block for as long as the kernel takes:
//! call them where blocking is allowed.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{Array, HashMap, MapData, MapError};
use mount_observer_common::ScanMode;

use super::{bpf, clock};
use crate::{
    input::{ConnectionCheck, ConnectionState, Scan},
    superblock::Dev,
    time::Mono,
};

/// A scan ends here: 10,000 blocked tasks take 2 MB, 1,000 full connections 14 MB.
const SCAN_BYTES_MAX: usize = 32 << 20;

/// Read at once; the kernel's side of an iterator buffers 32 KiB.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a scan brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The plan has no such iterator, or it did not load: `check` says why.
    #[error("the {0} iterator is not available")]
    Unavailable(&'static str),
    /// The run could not start.
    #[error("cannot start the {0} iterator")]
    Start(&'static str, #[source] io::Error),
    /// What is asked for could not be set.
    #[error("cannot say whose files are looked for")]
    Asked(#[source] MapError),
    /// The mode could not be set.
    #[error("cannot set the scan mode")]
    Mode(#[source] MapError),
}

/// Runs the iterators, one at a time: they share a scratch buffer in the kernel.
pub struct Scanner {
    pub(super) holders: Option<OwnedFd>,
    pub(super) tasks: Option<OwnedFd>,
    pub(super) files: Option<OwnedFd>,
    pub(super) mode: Array<MapData, u32>,
    /// The superblocks whose files are looked for, and whether they are FUSE's.
    pub(super) asked: HashMap<MapData, u32, u32>,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("holders", &self.holders)
            .field("tasks", &self.tasks)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Scanner {
    /// Whether the holders of `/dev/fuse` can be looked at: not while FUSE is away.
    pub const fn has_holders(&self) -> bool {
        self.holders.is_some()
    }

    /// Every holder of `/dev/fuse` and the requests queued there.
    pub fn holders(&mut self) -> Result<Scan, ScanError> {
        run("holders", self.holders.as_ref())
    }

    /// Known servers and blocked tasks.
    pub fn tasks(&mut self, mode: ScanMode) -> Result<Scan, ScanError> {
        self.mode
            .set(0, mode.to_wire(), 0)
            .map_err(ScanError::Mode)?;
        run("tasks", self.tasks.as_ref())
    }

    /// The files that are open for writing on these superblocks; of each, whether it is FUSE's.
    pub fn files(&mut self, superblocks: &BTreeMap<Dev, bool>) -> Result<Scan, ScanError> {
        let mut result = Ok(());
        for (dev, is_fuse) in superblocks {
            let set = self.asked.insert(dev.0, u32::from(*is_fuse), 0);
            result = result.and(set.map_err(ScanError::Asked));
        }
        let scan = result.and_then(|()| run("files", self.files.as_ref()));
        for dev in superblocks.keys() {
            // One that was not put in is not there.
            self.asked.remove(&dev.0).ok();
        }
        scan
    }
}

fn run(name: &'static str, link: Option<&OwnedFd>) -> Result<Scan, ScanError> {
    let link = link.ok_or(ScanError::Unavailable(name))?;
    let begun = clock::now().mono;
    let file = bpf::run_iterator(link.as_fd()).map_err(|error| ScanError::Start(name, error))?;
    Ok(read_all(file, begun))
}

/// Reads to the end. A run that fails half-way keeps what it brought and says that it is not all.
fn read_all(mut file: File, begun: Mono) -> Scan {
    let mut scan = Scan {
        begun,
        ..Scan::default()
    };
    loop {
        let len = scan.bytes.len();
        if len >= SCAN_BYTES_MAX {
            return scan;
        }
        scan.bytes.resize(len + CHUNK_BYTES, 0);
        let result = file.read(scan.bytes.get_mut(len..).unwrap_or_default());
        scan.bytes
            .truncate(len + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => {
                scan.is_complete = true;
                return scan;
            }
            Ok(_) => {}
            // The kernel pauses a run after a million objects without output (`bpf_seq_read`).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                tracing::warn!(%error, "an iterator run ended early");
                return scan;
            }
        }
    }
}

/// Asks for the state of single connections.
#[derive(Debug)]
pub struct ConnectionChecker {
    pub(super) program: OwnedFd,
}

impl ConnectionChecker {
    /// The state of the connection a scan found at this address. Takes microseconds.
    pub fn check(&self, connection_ptr: u64, dev: Dev) -> io::Result<ConnectionCheck> {
        let answer = bpf::ask(&self.program, [connection_ptr, u64::from(dev.0)])?;
        Ok(ConnectionCheck {
            dev,
            state: decode(answer),
        })
    }
}

/// `connected` in the top bit, `num_waiting` below; all ones when the address leads elsewhere.
fn decode(answer: u32) -> Option<ConnectionState> {
    (answer != u32::MAX).then_some(ConnectionState {
        is_connected: answer >> 31 == 1,
        waiting: answer & (u32::MAX >> 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_holds_both_or_says_that_the_connection_is_gone() {
        let state = |is_connected, waiting| {
            Some(ConnectionState {
                is_connected,
                waiting,
            })
        };
        assert_eq!(decode(1 << 31 | 3), state(true, 3));
        assert_eq!(decode(0), state(false, 0));
        assert_eq!(decode(u32::MAX), None);
    }
}

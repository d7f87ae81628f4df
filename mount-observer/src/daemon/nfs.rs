//! Which superblock each NFS client belongs to: looked up in the kernel's list of superblocks by a
//! program of ours, because nothing of a mount is ever opened.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, OwnedFd},
};

use mount_observer_common::{NFS_SERVERS_MAX, NfsServer};
use zerocopy::FromBytes;

use super::bpf::{self, BatchReader};
use crate::superblock::Dev;

/// Runs of the program in one look: 128 superblocks each.
const RUNS_MAX: usize = 1024;

/// Answers of the program: it has seen all, and the list led nowhere. Otherwise it is not done yet.
const ALL_SEEN: u32 = 1;
const LOST: u32 = 2;

/// Looks for NFS superblocks. Blocks for as long as the kernel takes: some 100 ns for each superblock
/// there is, of whatever type.
#[derive(Debug)]
pub struct NfsMounts {
    program: OwnedFd,
    servers: OwnedFd,
    reader: BatchReader,
    turn: u32,
}

impl NfsMounts {
    /// The program, and the map it fills.
    pub(super) fn new(program: OwnedFd, servers: OwnedFd) -> Self {
        let reader = BatchReader::new(8, size_of::<NfsServer>(), NFS_SERVERS_MAX);
        Self {
            program,
            servers,
            reader,
            turn: 0,
        }
    }

    /// Finds the client of every NFS superblock there is, and forgets those that are gone. Returns
    /// whose operations are told apart now.
    pub fn look(&mut self) -> io::Result<BTreeSet<Dev>> {
        self.turn = self.turn.wrapping_add(1);
        let mut is_new = 1;
        for _ in 0..RUNS_MAX {
            match bpf::ask(&self.program, [is_new, u64::from(self.turn)])? {
                ALL_SEEN => return self.sort_out(),
                LOST => break,
                _ => is_new = 0,
            }
        }
        Err(io::Error::other("the list of superblocks has no end"))
    }

    fn sort_out(&mut self) -> io::Result<BTreeSet<Dev>> {
        let mut found = BTreeSet::new();
        let mut gone = Vec::new();
        let turn = self.turn;
        self.reader.read(self.servers.as_fd(), |key, value| {
            match (u64::read_from_bytes(key), NfsServer::read_from_bytes(value)) {
                (Ok(_), Ok(server)) if server.turn == turn => {
                    found.insert(Dev(server.dev));
                }
                (Ok(client), _) => gone.push(client),
                _ => {}
            }
        })?;
        for client in gone {
            bpf::delete(self.servers.as_fd(), client)?;
        }
        Ok(found)
    }
}

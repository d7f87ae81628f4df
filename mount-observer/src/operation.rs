//! Operations under the names users know: FUSE opcodes (`LOOKUP`) and path syscalls (`newfstatat`).

use std::fmt;

use mount_observer_common::Op;
use serde::{Serialize, Serializer};

/// An operation on a superblock. Displayed as the kernel names a FUSE opcode (`LOOKUP`), or as the
/// syscall's name in lower case (`statx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation(pub Op);

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Fuse(opcode) => write!(f, "FUSE_{opcode}"),
            Op::Syscall(number) => write!(f, "syscall_{number}"),
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

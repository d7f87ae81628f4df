//! What a trace shows: one line per operation that ended or blocks, alerts, and what was lost.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    alert::Transition, decode::Caller, errno::Errno, operation::Operation, superblock::Dev,
    time::Wall,
};

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An operation.
    Operation(Box<OperationLine>),
    /// An alert of the observer changed.
    Alert {
        /// When.
        at: Wall,
        /// How.
        transition: Box<Transition>,
    },
    /// Something was not seen.
    Lost(Lost),
}

/// How far an operation has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not ended.
    Blocked,
    /// It succeeded.
    Ok,
    /// It failed.
    Failed,
    /// It blocked and does so no more; how it ended was not seen.
    Gone,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationLine {
    /// How far it has got.
    pub state: State,
    /// When it ended; of one that blocks, when that was seen.
    pub at: Wall,
    /// Who asked; `None` where that is not known.
    pub caller: Option<Caller>,
    /// The superblock's number.
    pub dev: Dev,
    /// Where it is mounted, and its type.
    pub place: Arc<Place>,
    /// What was asked; `None` for a task that waits, and nobody knows in which call.
    pub operation: Option<Operation>,
    /// The kernel function such a task waits in.
    pub waits_in: Option<String>,
    /// What it was about.
    pub file: Option<File>,
    /// The FUSE request's number.
    pub unique: Option<u64>,
    /// The failure.
    pub errno: Option<Errno>,
    /// How long it took, or has waited, ns; at least so long where `is_at_least`.
    pub latency_ns: Option<u64>,
    /// Whether it began before it was first seen.
    pub is_at_least: bool,
    /// Whether a line said before that it blocks.
    pub was_blocked: bool,
}

/// The mount an operation is shown under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The mount point, as mountinfo has it; bytes that are no UTF-8 as U+FFFD.
    pub mount_point: String,
    /// Filesystem type.
    pub fstype: String,
}

/// What an operation was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// A path as the caller gave it, perhaps cut.
    Path(Vec<u8>),
    /// A name in the directory that a FUSE node is; node 1 is the root of the filesystem.
    Name {
        /// The directory's node.
        parent: Option<u64>,
        /// The name, cut to 63 bytes.
        name: Vec<u8>,
    },
    /// A FUSE node.
    Node(u64),
}

/// Something that the trace does not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// When it was noticed.
    #[serde(rename = "unix_ns")]
    pub at: Wall,
    /// What (`records_lost`: records that found their ring full).
    pub what: &'static str,
    /// How many since the last such line.
    pub count: u64,
    /// How many since the beginning.
    pub total: u64,
}

//! What one entry looks like in a payload: a `MessagePack` map with named fields, so that a version which
//! knows more or fewer of them can still read it. The names are the format: they are never changed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::header::Decisive;
use crate::{
    incident::Incident,
    recovery::{Outcome, RecoveryRun},
};

/// One entry as it is written. What is often the same as before is only written where it differs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Wire<'a> {
    Record(#[serde(borrow, with = "serde_bytes")] Cow<'a, [u8]>),
    Totals(#[serde(borrow)] Rows<'a>),
    /// Rows at these places of the last reading, the others as they were.
    TotalsChanged {
        places: Vec<u32>,
        #[serde(borrow)]
        rows: Rows<'a>,
    },
    InFlight(#[serde(borrow)] Rows<'a>),
    Holders(#[serde(borrow)] Scan<'a>),
    Tasks {
        #[serde(borrow)]
        scan: Scan<'a>,
        is_full: bool,
    },
    ShadowWrites(Vec<(u32, u64)>),
    Files {
        #[serde(borrow)]
        scan: Scan<'a>,
        superblocks: Vec<u32>,
    },
    Connection {
        dev: u32,
        state: Option<ConnectionState>,
    },
    Mountinfo {
        mnt_ns: u32,
        is_own: bool,
        read_at: u64,
        /// `None`: as last read of this namespace.
        #[serde(borrow, with = "serde_bytes")]
        bytes: Option<Cow<'a, [u8]>>,
    },
    Namespaces(Vec<u32>),
    Waiting(Vec<(u32, u32)>),
    WaitFunctions(Vec<(u64, u64, String)>),
    Names(Vec<(u64, String)>),
    TraceGroups(Vec<u64>),
    Units(#[serde(borrow)] Vec<Unit<'a>>),
    Links {
        tid: u32,
        dfd: i32,
        #[serde(borrow, with = "serde_bytes")]
        root: Option<Cow<'a, [u8]>>,
        #[serde(borrow, with = "serde_bytes")]
        base: Option<Cow<'a, [u8]>>,
    },
    Health(Health),
    Unseen {
        what: String,
        count: u64,
    },
    Layout {
        is_described: bool,
    },
    RecoveryEnabled(bool),
    RecoveryRuns(Vec<RecoveryRun>),
    RecoveryDone {
        run: String,
        outcome: Outcome,
        detail: String,
    },
    Remembered(Vec<Incident>),
    Sysctls(Vec<(String, String)>),
    Trouble {
        part: String,
        what: Option<String>,
    },
    Tick,
    Reconfigure(Box<Decisive>),
    /// So many inputs are missing here: the recorder could not keep up, or could not write.
    Lost(u64),
}

/// Rows of one wire type, and the size of each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rows<'a> {
    pub(super) row: u32,
    #[serde(borrow, with = "serde_bytes")]
    pub(super) bytes: Cow<'a, [u8]>,
}

/// The output of an iterator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Scan<'a> {
    #[serde(borrow, with = "serde_bytes")]
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) is_complete: bool,
    pub(super) begun: u64,
}

/// The control groups of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unit<'a> {
    pub(super) pid: u32,
    #[serde(borrow, with = "serde_bytes")]
    pub(super) cgroups: Option<Cow<'a, [u8]>>,
}

/// The state of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConnectionState {
    pub(super) is_connected: bool,
    pub(super) waiting: u32,
}

/// What the kernel side says about itself; what is `None` is as it was.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Health {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) counters: Option<Vec<(String, u64)>>,
    /// Of the last counters, those that changed: place and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) changed: Vec<(u32, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) maps: Option<Vec<(String, u64, u64)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probes: Option<Vec<Probe>>,
}

/// One probe.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probe {
    #[serde(rename = "probe")]
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) is_wanted: bool,
    pub(super) is_resting: bool,
    pub(super) reason: String,
    pub(super) lacks: Option<String>,
}

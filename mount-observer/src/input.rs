//! Everything the observer can learn, and everything it can ask for.
//!
//! Live, replay and tests feed the same inputs to the same `Observer::step`.

use mount_observer_common::{InFlight, TotalsKey, TotalsValue};

use crate::{alert::Transition, superblock::Dev};

/// One thing learnt from the outside. Bytes come as the kernel wrote them: decoding is the pure
/// part's business, so that a recording can be decoded again.
#[derive(Clone, Debug)]
pub enum Input {
    /// One ring buffer record.
    Record(Vec<u8>),
    /// The whole of `TOTALS`, summed over CPUs; counters since attach.
    Totals(Vec<(TotalsKey, TotalsValue)>),
    /// The whole of `IN_FLIGHT`: request pointer and entry.
    InFlight(Vec<(u64, InFlight)>),
    /// Rows of the `holders` iterator: every `/dev/fuse` descriptor and the requests queued on it.
    Holders(Scan),
    /// Rows of the `tasks` iterator.
    Tasks {
        /// The rows.
        scan: Scan,
        /// Whether every sleeping task's stack was looked at, or only the suspicious ones.
        is_full: bool,
    },
    /// Answer to [`Effect::CheckConnections`].
    Connection(ConnectionCheck),
    /// The whole mountinfo of one process for one mount namespace.
    Mountinfo {
        /// Inode number of the mount namespace.
        mnt_ns: u32,
        /// Whether it is the observer's own (its paths are what people expect to see).
        is_own: bool,
        /// `s_dev` of the root of the process it was read from, by the line mounted at `/`.
        bytes: Vec<u8>,
    },
    /// The mount namespaces that exist now; those not listed are gone.
    Namespaces(Vec<u32>),
    /// fusectl `waiting` per connection; the whole directory.
    Waiting(Vec<(Dev, u32)>),
    /// Kernel return-address ranges of functions in which a task waits for a filesystem.
    WaitFunctions(Vec<WaitFunction>),
    /// Counters of what was lost since attach, by name, and the fill of each map.
    Health(KernelHealth),
    /// Decide now: detect, move alerts, make a new snapshot.
    Tick,
}

/// The output of one iterator run.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Rows back to back (`mount_observer_common::RowKind`).
    pub bytes: Vec<u8>,
    /// False when the run ended early: absence of a row then proves nothing.
    pub is_complete: bool,
}

/// The state of one FUSE connection as `connection_check` read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCheck {
    /// `fuse_conn.dev`.
    pub dev: Dev,
    /// `None` when the pointer no longer leads to this connection.
    pub state: Option<ConnectionState>,
}

/// What a live `struct fuse_conn` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// False once the connection was aborted or its last descriptor closed.
    pub is_connected: bool,
    /// Requests waiting for an answer or for a slot.
    pub waiting: u32,
}

/// A kernel function in which tasks wait for a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitFunction {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Its name in kallsyms.
    pub name: String,
}

/// What the kernel side says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelHealth {
    /// Named counters since attach: events seen, records dropped, inserts refused, self touches.
    pub counters: Vec<(&'static str, u64)>,
    /// Map name, entries, limit.
    pub maps: Vec<(&'static str, u64, u64)>,
    /// Probe name, kind of program attached (`tp_btf`, `raw_tp`, ...; `None` when not attached), why.
    pub probes: Vec<ProbeHealth>,
}

/// One probe of the plan as it ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeHealth {
    /// Probe name (`fuse_send`).
    pub probe: &'static str,
    /// How it is attached (`tp_btf`); `None` when it is not.
    pub kind: Option<&'static str>,
    /// Whether the plan wanted it; one that is off by configuration is not a loss.
    pub is_wanted: bool,
    /// Why this kind, or why not.
    pub reason: String,
}

/// Something the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An alert changed: log it, send it.
    Transition(Box<Transition>),
    /// Run both iterators, tasks in full, soon: something looks wrong.
    ScanSuspicion,
    /// Run the `holders` iterator soon: a FUSE mount appeared whose server is not known.
    ScanHolders,
    /// Watch these processes for exit and for being stopped; replaces the last set.
    WatchServers(Vec<u32>),
    /// Check these connections now: address and device.
    CheckConnections(Vec<(u64, Dev)>),
    /// The superblocks in scope; replaces the last set.
    WatchSuperblocks(Vec<Dev>),
    /// Mount points to attribute paths by, in the kernel; replaces the last set.
    WatchMountPoints(Vec<MountPoint>),
    /// Decide now rather than at the next regular tick: a fact settled the matter.
    TickNow,
}

/// One entry of the kernel-side path attribution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountPoint {
    /// Mount namespace the path is seen in.
    pub mnt_ns: u32,
    /// `s_dev` of that namespace's root: tasks with another root are chrooted elsewhere.
    pub root: Dev,
    /// The path, unescaped.
    pub path: Vec<u8>,
    /// The superblock mounted on top there.
    pub dev: Dev,
}

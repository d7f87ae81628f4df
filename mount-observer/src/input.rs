//! Everything the observer can learn, and everything it can ask for.
//!
//! Live, replay and tests feed the same inputs to the same `Observer::step`.

use std::{fmt, ops::Range};

use mount_observer_common::{InFlight, TotalsKey, TotalsValue};

use crate::{
    alert::Transition,
    incident::Incident,
    recovery::{Job, Outcome, RecoveryRun},
    superblock::{Dev, SuperblockId},
    time::Mono,
};

/// One thing learnt from the outside. Bytes come as the kernel wrote them: decoding is the pure
/// part's business, so that a recording can be decoded again.
#[derive(Clone, Debug)]
pub enum Input {
    /// One ring buffer record.
    Record(Vec<u8>),
    /// The whole of `TOTALS`, summed over CPUs; counters since attach.
    Totals(TotalsReading),
    /// The whole of `IN_FLIGHT`: request pointer and entry.
    InFlight(InFlightReading),
    /// Rows of the `holders` iterator: every `/dev/fuse` descriptor and the requests queued on it.
    Holders(Scan),
    /// Rows of the `tasks` iterator.
    Tasks {
        /// The rows.
        scan: Scan,
        /// Whether every sleeping task's stack was looked at, or only the suspicious ones.
        is_full: bool,
    },
    /// How much was written below each missing mount, by its place, since the programs were attached.
    ShadowWrites(Vec<(u32, u64)>),
    /// Answer to [`Effect::ListFiles`]: rows of the `files` iterator.
    Files {
        /// The rows.
        scan: Scan,
        /// The superblocks that were asked about.
        superblocks: Vec<Dev>,
    },
    /// Answer to [`Effect::CheckConnections`].
    Connection(ConnectionCheck),
    /// The whole mountinfo of one process for one mount namespace.
    Mountinfo {
        /// Inode number of the mount namespace.
        mnt_ns: u32,
        /// Whether it is the observer's own (its paths are what people expect to see).
        is_own: bool,
        /// When reading began: what changed later it may not show.
        read_at: Mono,
        /// The file's content. Feed it after every change notice and every [`Effect::ReadMountinfo`],
        /// even when equal to the last: it is only parsed when it differs.
        bytes: Vec<u8>,
    },
    /// The mount namespaces that exist now; those not listed are gone.
    Namespaces(Vec<u32>),
    /// fusectl `waiting` per connection; the whole directory.
    Waiting(Vec<(Dev, u32)>),
    /// Kernel return-address ranges of functions in which a task waits for a filesystem.
    WaitFunctions(Vec<WaitFunction>),
    /// Answer to [`Effect::NameAddresses`]: the functions that were found.
    Names(Vec<(u64, String)>),
    /// Answer to [`Effect::FindUnits`]: the content of `/proc/PID/cgroup`, `None` of a process that has
    /// gone.
    Units(Vec<(u32, Option<Vec<u8>>)>),
    /// Answer to [`Effect::ReadLinks`].
    Links(Links),
    /// The control groups of version 2, by their ids, that the filter of a trace names now.
    TraceGroups(Vec<u64>),
    /// Counters of what was lost since attach, by name, and the fill of each map.
    Health(KernelHealth),
    /// How much of something is out of sight now, in words; 0 when all of it is seen again.
    Unseen {
        /// Of what, and what would help.
        what: &'static str,
        /// How many.
        count: u64,
    },
    /// Whether the kernel describes FUSE's structures. Where it does not, what is read through their
    /// layout is believed only once it fits the mounts.
    Layout {
        /// False where the kernel has no type information for them.
        is_described: bool,
    },
    /// Whether recoveries may do something: the enabling file is there, and nobody else repairs.
    RecoveryEnabled(bool),
    /// The recoveries of the last days, as the journal remembers them.
    RecoveryRuns(Vec<RecoveryRun>),
    /// Answer to [`Effect::Recover`].
    RecoveryDone {
        /// The run.
        run: String,
        /// What came of the step.
        outcome: Outcome,
        /// What was said about it.
        detail: String,
    },
    /// The incidents that an earlier observer left open, as the journal holds them. Before the first
    /// tick, so that what is still there goes on as the same incident.
    Remembered(Vec<Incident>),
    /// Settings of the kernel that decide how it treats a server that does not answer: name, value.
    Sysctls(Vec<(String, String)>),
    /// What a part of the shell cannot do now, in words; `None` when it can.
    Trouble {
        /// The part: `storage`.
        part: &'static str,
        /// What is wrong.
        what: Option<String>,
    },
    /// Decide now: detect, move alerts, make a new snapshot.
    Tick,
}

/// The counters of every key, summed over CPUs.
pub type TotalsReading = Vec<(TotalsKey, TotalsValue)>;

/// Address and entry of every request in flight.
pub type InFlightReading = Vec<(u64, InFlight)>;

/// What the observer must know about itself and its place before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfInfo {
    /// The boot in which device numbers and the monotonic clock mean something.
    pub boot: BootId,
    /// Whether it sees every process: in a nested pid namespace a server may be out of sight, and
    /// "nobody holds the connection" proves nothing.
    pub is_initial_pid_namespace: bool,
    /// Whether this is one look (`status`) rather than a watch: it must decide from two scans a
    /// fraction of a second apart, and no probe is attached.
    pub is_single_look: bool,
}

/// `/proc/sys/kernel/random/boot_id`: a UUID that the kernel makes at each boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootId(pub u128);

impl BootId {
    /// Reads it as the kernel writes it; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
        let id = u128::from_str_radix(&digits, 16).ok()?;
        (digits.len() == 32).then_some(Self(id))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let part = |range: Range<usize>| digits.get(range).unwrap_or_default();
        let parts = [
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32),
        ];
        f.write_str(&parts.join("-"))
    }
}

/// The links of one task, as `readlink` gave them: never followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// The task.
    pub tid: u32,
    /// The descriptor asked about, `AT_FDCWD` (-100) for the working directory.
    pub dfd: i32,
    /// `/proc/TID/root`; `None` when the task is gone.
    pub root: Option<Vec<u8>>,
    /// `/proc/TID/cwd` or `/proc/TID/fd/DFD`.
    pub base: Option<Vec<u8>>,
}

/// The output of one iterator run.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Rows back to back (`mount_observer_common::RowKind`).
    pub bytes: Vec<u8>,
    /// False when the run ended early: absence of a row then proves nothing.
    pub is_complete: bool,
    /// When it began: no row is older, and one may be older than what was learnt since.
    pub begun: Mono,
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
    /// Whether there was nothing to see for it: a loss only where a mount table shows that there is.
    pub is_resting: bool,
    /// Why this kind, or why not.
    pub reason: String,
    /// What is not seen in this way, although it is attached.
    pub lacks: Option<&'static str>,
}

/// Something the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An alert changed: log it, send it.
    Transition(Box<Transition>),
    /// The journal is to hold this incident in this form, whatever it held under its id.
    Keep(Box<Incident>),
    /// The journal is to hold this recovery in this form.
    KeepRun(Box<RecoveryRun>),
    /// Carry out this step of a recovery; answered by [`Input::RecoveryDone`].
    Recover(Job),
    /// Run both iterators, tasks in full, soon: something looks wrong.
    ScanSuspicion,
    /// Run the `holders` iterator soon: a FUSE mount appeared whose server is not known.
    ScanHolders,
    /// Count what is written below these mount points, on which nothing is mounted; replaces the last set.
    /// With none, nothing is to be attached for it.
    WatchMissing(Vec<MissingMount>),
    /// List the files that are open for writing on a superblock, soon: who has one may close it. Answered
    /// by [`Input::Files`].
    ListFiles {
        /// The superblock.
        dev: Dev,
        /// Whether it is FUSE's, whose files are nodes.
        is_fuse: bool,
    },
    /// Watch these processes for exit and for being stopped; replaces the last set.
    WatchServers(Vec<u32>),
    /// Check these connections once, now: address and device.
    CheckConnections(Vec<(u64, Dev)>),
    /// A server of these connections is exiting and closes its descriptors right after: check at 1,
    /// 2, 4, ... 64 ms, each until it is found disconnected.
    FollowExit(Vec<(u64, Dev)>),
    /// Read the mountinfo of these namespaces now and feed it even when unchanged: an unmount also
    /// disconnects, and only the table tells it from a death.
    ReadMountinfo(Vec<u32>),
    /// Delete these entries of `IN_FLIGHT`, by address and `start_ns`: they never end. One whose
    /// `start_ns` differs by now is another request and stays.
    ForgetRequests(Vec<(u64, u64)>),
    /// Read the links of a task whose failed path the kernel side could not attribute; answered by
    /// [`Input::Links`].
    ReadLinks {
        /// The task.
        tid: u32,
        /// Directory descriptor the path is relative to (`AT_FDCWD` is -100).
        dfd: i32,
    },
    /// The superblocks in scope; replaces the last set.
    WatchSuperblocks(Vec<Dev>),
    /// Mount points to attribute paths by, in the kernel; replaces the last set.
    WatchMountPoints(Vec<MountPoint>),
    /// The NFS superblocks in scope, whose operations are to be counted; replaces the last set. With
    /// none, nothing of NFS is to be held.
    FollowNfs(Vec<SuperblockId>),
    /// Read the control groups of these processes, soon: they may end. Answered by [`Input::Units`].
    FindUnits(Vec<u32>),
    /// Find the kernel functions these addresses lie in; answered by [`Input::Names`].
    NameAddresses(Vec<u64>),
    /// A filesystem of a type not seen before is in scope, and its module may have come with it: find
    /// the functions in which tasks wait again; answered by [`Input::WaitFunctions`].
    FindWaitFunctions,
    /// Decide now rather than at the next regular tick: a fact settled the matter.
    TickNow,
}

/// A mount that should be there and is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingMount {
    /// Its place in the configuration.
    pub place: u32,
    /// The mount namespace it should be in.
    pub mnt_ns: u32,
    /// `s_dev` of that namespace's root.
    pub root: Dev,
    /// Where it should be, unescaped.
    pub path: Vec<u8>,
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

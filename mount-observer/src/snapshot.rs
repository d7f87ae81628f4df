//! What is known at one tick: immutable, complete, and what every view renders.
//!
//! The serialised form is the documented body of `/api/v1/snapshot` and of `status --json`.

use std::sync::Arc;

use mount_observer_common::BUCKETS;
use serde::{Deserialize, Serialize};

use crate::{
    alert::{Severity, State, Victim},
    errno::Errno,
    incident::{self, AtRiskList},
    operation::Operation,
    sight::NotSeen,
    superblock::{Dev, SuperblockId},
    time::{Mono, Wall},
};

/// Everything known at one tick.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// When, ns since the epoch.
    pub taken_unix_ns: Wall,
    /// When, on the monotonic clock.
    #[serde(rename = "taken_monotonic_ns")]
    pub taken: Mono,
    /// Superblocks in scope, worst first, then by device.
    pub superblocks: Vec<Superblock>,
    /// Mounts seen, in and out of scope, in all namespaces.
    pub mounts_seen: u64,
    /// Superblocks out of scope.
    pub superblocks_out_of_scope: u64,
    /// Failures that belong to a superblock we could not name.
    pub unattributed: Vec<OperationCount>,
    /// Mounts that the configuration expects.
    pub expected: Vec<ExpectedMount>,
    /// What the observer knows about itself.
    pub observer: ObserverHealth,
}

impl Snapshot {
    /// The mounts that should be there and are not.
    pub fn absent(&self) -> impl Iterator<Item = &ExpectedMount> {
        let expected = self.expected.iter();
        expected.filter(|mount| mount.is_present == Some(false))
    }
}

/// A mount that should be there.
#[derive(Clone, Debug, Serialize)]
pub struct ExpectedMount {
    /// Where.
    pub mountpoint: String,
    /// Whether something is mounted there; `None` while the mount table was not read.
    pub is_present: Option<bool>,
    /// How long nothing has been, ns.
    pub absent_ns: Option<u64>,
    /// The alert that fires about it.
    pub alert: Option<&'static str>,
    /// Calls that wrote underneath while nothing was mounted, since the observer attached.
    pub shadow_writes: u64,
    /// What was written underneath since it went.
    pub underneath: AtRiskList,
}

/// One superblock in scope.
#[derive(Clone, Debug, Serialize)]
pub struct Superblock {
    /// Identity.
    pub id: SuperblockId,
    /// Filesystem type (`fuse.sshfs`).
    pub fstype: String,
    /// mountinfo's source field.
    pub device: String,
    /// The mount point used as a label: the shortest in the observer's namespace, else in another.
    pub mountpoint: String,
    /// Every mount of it.
    pub mounts: Arc<[Mount]>,
    /// Its state.
    pub state: State,
    /// `None` in the states that ask for nothing.
    pub severity: Option<Severity>,
    /// When the state began.
    #[serde(skip)]
    pub since: Mono,
    /// The same, ns since the epoch.
    pub since_unix_ns: Wall,
    /// One sentence.
    pub reason: String,
    /// Facts behind it.
    pub evidence: Vec<String>,
    /// What to do about it; empty in the states that ask for nothing.
    pub advice: String,
    /// Requests in flight, all of them counted.
    pub in_flight: u64,
    /// The oldest requests in flight, oldest first, bounded.
    pub requests: Vec<Request>,
    /// Age of the oldest, ns.
    pub oldest_request_age_ns: Option<u64>,
    /// Tasks blocked on it, all of them counted.
    pub blocked: u64,
    /// Blocked tasks, longest first, bounded.
    pub blocked_tasks: Vec<BlockedTask>,
    /// Recent failures with who met them, newest first, bounded.
    pub failures: Vec<Victim>,
    /// Data that may not have been written, bounded.
    pub at_risk: AtRiskList,
    /// FUSE only.
    pub fuse: Option<Fuse>,
    /// Counters since the observer attached, by operation and errno (`None`: success).
    pub operations: Vec<OperationCount>,
    /// Latency histograms since attach, by class.
    pub latency: Vec<ClassLatency>,
}

/// One line of some mountinfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Mount point, lossily as text.
    pub mount_point: String,
    /// Mount point with the bytes that are no UTF-8, and control characters, as `\xHH`; equal to
    /// `mount_point` for most.
    pub mount_point_escaped: String,
    /// Root of the mount within the filesystem.
    pub root: String,
    /// Inode number of the mount namespace.
    pub mount_namespace: u32,
    /// Whether that is the observer's own.
    pub is_own_namespace: bool,
    /// mountinfo's mount id.
    pub mount_id: u32,
    /// Whether another mount covers it at the same mount point.
    pub is_covered: bool,
    /// Mount options.
    pub options: String,
}

/// A namespace of these mounts, where none of them is in the observer's own.
pub fn namespace_elsewhere(mounts: &[Mount]) -> Option<u32> {
    if mounts.iter().any(|mount| mount.is_own_namespace) {
        return None;
    }
    mounts.first().map(|mount| mount.mount_namespace)
}

/// One request in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// What it asks.
    pub operation: Operation,
    /// Its number; `None` while not assigned.
    pub unique: Option<u64>,
    /// The FUSE node.
    pub nodeid: u64,
    /// How long it has been in flight, ns; `None` when it began before us on a kernel that keeps no time.
    pub age_ns: Option<u64>,
    /// The caller; `None` when nobody knows.
    pub pid: Option<u32>,
    /// The caller's thread.
    pub tid: Option<u32>,
    /// The caller's name.
    pub comm: Option<String>,
    /// Whether the server has read it; `None` when not seen on a queue.
    pub is_at_server: Option<bool>,
    /// `probe` when we saw it sent, `queue` when it was found on the connection's lists.
    pub source: &'static str,
}

/// A task that waits for a filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedTask {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// `S` interruptible, `D` uninterruptible (killable or not), as ps shows it.
    pub task_state: char,
    /// The kernel function it waits in, when known.
    pub waits_in: Option<String>,
    /// The request it waits for, when it is its own.
    pub operation: Option<Operation>,
    /// The superblock below that it really waits for, where that is another: `0:45 at /mnt/x`.
    pub caused_by: Option<String>,
    /// How long, ns.
    pub age_ns: Option<u64>,
    /// Kernel stack, innermost first: functions, `?` where not known. Never an address.
    pub stack: Vec<String>,
}

/// The FUSE side of a superblock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fuse {
    /// The connection's number: the directory under `/sys/fs/fuse/connections`.
    pub connection: Dev,
    /// `None` when nobody could be asked.
    pub is_connected: Option<bool>,
    /// Requests waiting for an answer or a slot.
    pub waiting: Option<u32>,
    /// The server's processes: who holds the connection's `/dev/fuse`.
    pub servers: Vec<Server>,
    /// Whether the server is there.
    pub server_status: ServerStatus,
    /// How the connection was ended, where that was seen.
    pub abort: Option<Abort>,
}

/// The end of a connection, as the kernel made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Abort {
    /// `server_exit`, `fusectl`, `forced_unmount`, `timeout`, `unmount` or `unknown`.
    pub cause: &'static str,
    /// When, ns since the epoch.
    pub at_unix_ns: Wall,
    /// Who did it; `None` for the kernel's own timeout.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
}

/// Whether a FUSE server can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerStatus {
    /// Some holder runs or sleeps.
    Running,
    /// Every holder is stopped (`SIGSTOP`, a debugger, the freezer).
    Stopped,
    /// Nobody holds the connection any more.
    Gone,
    /// Not in a place we can see.
    Unknown,
}

/// A process that holds, or held, a connection's `/dev/fuse`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Process.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// The systemd unit or container it belongs to, else its control group, where known.
    pub unit: Option<String>,
    /// Its own status.
    pub status: ServerStatus,
    /// How it ended, when that was seen: `exit 1`, `SIGKILL`.
    pub exit: Option<String>,
}

/// Operations of one kind with one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OperationCount {
    /// What.
    pub operation: Operation,
    /// `None` for success.
    pub errno: Option<Errno>,
    /// How many.
    pub count: u64,
}

/// A latency histogram over one class of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClassLatency {
    /// `metadata`, `data`, `sync`, `blocking` (what waits by design) or `stat` (path system calls).
    pub class: &'static str,
    /// Operations per bucket (`mount_observer_common::bucket_upper_bound_ns`).
    pub buckets: [u64; BUCKETS],
    /// Sum of latencies, ns.
    pub sum_ns: u64,
}

/// What the observer knows about itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ObserverHealth {
    /// Whether anything it promised to see is not seen, in words; empty when all is well.
    pub degraded: Vec<String>,
    /// Probe, how it is attached, whether wanted, why.
    pub probes: Vec<Probe>,
    /// What the probes that are not attached would show. Those whose lack makes silence say nothing
    /// are in `degraded` too.
    pub not_seen: Vec<NotSeen>,
    /// Inputs taken, by source.
    pub events: Vec<(&'static str, u64)>,
    /// What was lost, by reason; each reason is listed from the start, at 0.
    pub dropped: Vec<(&'static str, u64)>,
    /// Map, entries, limit.
    pub maps: Vec<(&'static str, u64, u64)>,
    /// FUSE requests and path syscalls on observed superblocks made by the observer itself: 0.
    pub self_touches: u64,
    /// Incidents so far.
    #[serde(skip)]
    pub incidents: incident::Counts,
    /// Incidents that go on.
    #[serde(skip)]
    pub incidents_active: usize,
    /// Alert transitions so far, by kind and what to.
    pub transitions: Vec<(&'static str, &'static str, u64)>,
    /// Recoveries so far, by mount point of the configuration and outcome.
    pub recoveries: Vec<(String, &'static str, u64)>,
}

/// One probe as attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Name.
    pub probe: &'static str,
    /// `tp_btf`, ...; `None` when not attached.
    pub kind: Option<&'static str>,
    /// Whether it should be.
    pub is_wanted: bool,
    /// Why.
    pub reason: String,
}

//! What `top` reads of a snapshot: a part of `/api/v1/snapshot` and `/api/v1/incidents` as they are
//! documented, so that it makes no difference who took it. What an older daemon does not tell is
//! `None`, and shown as not known.

use serde::Deserialize;

use crate::{
    alert::{Severity, State},
    snapshot::ServerStatus,
    time::Wall,
};

/// Everything known at one tick.
#[derive(Clone, Debug, Deserialize)]
pub struct Look {
    /// When it was taken.
    pub taken_unix_ns: Wall,
    /// The same on the monotonic clock, ns.
    pub taken_monotonic_ns: Option<u64>,
    /// Superblocks in scope.
    pub superblocks: Vec<Superblock>,
    /// Superblocks that are not observed.
    #[serde(default)]
    pub superblocks_out_of_scope: u64,
    /// Mounts that should be there.
    #[serde(default)]
    pub expected: Vec<Expected>,
    /// What the observer knows about itself.
    pub observer: Health,
}

/// A superblock.
#[derive(Clone, Debug, Deserialize)]
pub struct Superblock {
    /// Device number and epoch.
    pub id: String,
    /// Filesystem type.
    pub fstype: String,
    /// Its source.
    pub device: String,
    /// The mount point used as a label.
    pub mountpoint: String,
    /// Every mount of it.
    pub mounts: Vec<Mount>,
    /// Its state.
    pub state: State,
    /// `None` in the states that ask for nothing.
    pub severity: Option<Severity>,
    /// When the state began.
    pub since_unix_ns: Wall,
    /// One sentence.
    pub reason: String,
    /// Facts behind it.
    pub evidence: Vec<String>,
    /// Requests in flight: all of them.
    pub in_flight: u64,
    /// The oldest of them.
    pub requests: Vec<Request>,
    /// Age of the oldest, ns.
    pub oldest_request_age_ns: Option<u64>,
    /// Tasks that wait: all of them.
    pub blocked: u64,
    /// Those that wait longest.
    pub blocked_tasks: Vec<Task>,
    /// FUSE only.
    pub fuse: Option<Fuse>,
    /// Operations since the observer attached.
    pub operations: Vec<Count>,
    /// Latencies since the observer attached.
    pub latency: Option<Vec<Latency>>,
}

/// A mount of a superblock.
#[derive(Clone, Debug, Deserialize)]
pub struct Mount {
    /// Inode number of its namespace.
    pub mount_namespace: u32,
    /// Whether that is the observer's own.
    pub is_own_namespace: bool,
}

/// A request in flight.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// What it asks.
    pub operation: String,
    /// The FUSE node it is about.
    pub nodeid: u64,
    /// How long it has been in flight, ns.
    pub age_ns: Option<u64>,
    /// The caller's process.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// Whether the server has read it.
    pub is_at_server: Option<bool>,
}

/// A task that waits.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// As ps shows it.
    pub task_state: char,
    /// The kernel function it waits in.
    pub waits_in: Option<String>,
    /// What it waits for.
    pub operation: Option<String>,
    /// The superblock below that it really waits for.
    pub caused_by: Option<String>,
    /// How long, ns.
    pub age_ns: Option<u64>,
    /// Kernel stack, innermost first.
    pub stack: Vec<String>,
}

/// The FUSE side.
#[derive(Clone, Debug, Deserialize)]
pub struct Fuse {
    /// Requests that wait for an answer or a slot.
    pub waiting: Option<u32>,
    /// Who serves it.
    pub servers: Vec<Server>,
    /// Whether the server is there.
    pub server_status: ServerStatus,
}

/// A server's process.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// Process.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// Its unit or container.
    pub unit: Option<String>,
    /// How it ended.
    pub exit: Option<String>,
}

/// Operations of one outcome.
#[derive(Clone, Debug, Deserialize)]
pub struct Count {
    /// FUSE opcode, NFS procedure or system call.
    pub operation: String,
    /// `None` for success.
    pub errno: Option<String>,
    /// How many.
    pub count: u64,
}

/// A histogram of latencies.
#[derive(Clone, Debug, Deserialize)]
pub struct Latency {
    /// Which operations.
    pub class: String,
    /// By bucket.
    pub buckets: Vec<u64>,
}

/// A mount that should be there.
#[derive(Clone, Debug, Deserialize)]
pub struct Expected {
    /// Where.
    pub mountpoint: String,
    /// Whether something is mounted there.
    pub is_present: Option<bool>,
    /// How long nothing has been, ns.
    pub absent_ns: Option<u64>,
    /// Calls that wrote underneath.
    #[serde(default)]
    pub shadow_writes: u64,
}

/// What the observer knows about itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Health {
    /// What it promised to see and does not.
    pub degraded: Vec<String>,
    /// What is not seen on this kernel.
    #[serde(default)]
    pub not_seen: Vec<NotSeen>,
    /// Inputs taken, by source.
    #[serde(default)]
    pub events: Vec<(String, u64)>,
    /// What was lost, by reason.
    #[serde(default)]
    pub dropped: Vec<(String, u64)>,
}

/// What a probe that is not attached would show.
#[derive(Clone, Debug, Deserialize)]
pub struct NotSeen {
    /// What.
    pub what: String,
}

/// An alert's whole life, as the journal lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Incident {
    /// The worst kind of alert it came to.
    pub kind: String,
    /// The worst severity.
    pub severity: String,
    /// As mountinfo shows it.
    pub device_number: Option<String>,
    /// The mount point used as a label, escaped.
    pub mount_point: String,
    /// The first evidence.
    pub started_unix_ns: Wall,
    /// The end; `None` while it goes on.
    pub ended_unix_ns: Option<Wall>,
    /// How long it lasted, ns.
    pub lasted_ns: Option<u64>,
    /// Why it ended.
    pub ended_why: Option<String>,
    /// Whether it is a rehearsal.
    #[serde(default)]
    pub is_drill: bool,
    /// One sentence.
    pub reason: String,
}

/// The answer to `/api/v1/incidents`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Incidents {
    /// The latest first.
    pub incidents: Vec<Incident>,
}

impl Superblock {
    /// The mount point, with its namespace where that is not the observer's.
    pub fn place(&self) -> String {
        match self.mounts.first() {
            Some(first) if !self.mounts.iter().any(|mount| mount.is_own_namespace) => {
                format!("{} in mnt:[{}]", self.mountpoint, first.mount_namespace)
            }
            _ => self.mountpoint.clone(),
        }
    }

    /// `bindfs[99]`, behind what is wrong with it: `gone bindfs[99]`; empty where nobody serves it.
    pub fn server(&self) -> String {
        let Some(fuse) = &self.fuse else {
            return String::new();
        };
        let first = fuse.servers.first();
        let name = first.map(|server| format!("{}[{}]", server.comm, server.pid));
        let status = match fuse.server_status {
            ServerStatus::Running => None,
            ServerStatus::Stopped => Some("stopped"),
            ServerStatus::Gone => Some("gone"),
            ServerStatus::Unknown => Some("unknown"),
        };
        let words: Vec<&str> = status.into_iter().chain(name.as_deref()).collect();
        words.join(" ")
    }

    /// Requests in flight: what was seen sent, or what the connection says it waits for.
    pub fn waiting(&self) -> u64 {
        let waiting = self.fuse.as_ref().and_then(|fuse| fuse.waiting);
        self.in_flight.max(waiting.map_or(0, u64::from))
    }
}

//! What the programs, maps and iterators would show of the model right now.

use mount_observer::{
    input::{KernelHealth, ProbeHealth, Scan},
    time::Mono,
};
use mount_observer_common::{
    COMM_BYTES, HolderRow, InFlight, QueuedRow, RowKind, STACK_DEPTH, TaskRow, TotalsKey,
    TotalsValue,
};
use zerocopy::IntoBytes;

use super::{FUNCTIONS, Process, Request, World};

/// Those of the plan that the scenarios miss now and then, and those nothing is known without.
pub(crate) const PROBES: [&str; 7] = [
    "fuse_send",
    "fuse_end",
    "fuse_return",
    "server_exit",
    "connection_check",
    "holders",
    "path_exit",
];

/// Those of them that go and come with FUSE as a module.
pub(crate) const FUSE_PROBES: [&str; 5] = [
    "fuse_send",
    "fuse_end",
    "fuse_return",
    "connection_check",
    "holders",
];

impl World {
    pub(super) fn waiting(&self, dev: u32) -> u32 {
        let waits = |request: &&Request| request.dev == dev && request.is_queued;
        u32::try_from(self.requests.values().filter(waits).count()).unwrap()
    }

    pub(super) fn holders(&self) -> Scan {
        let mut bytes = Vec::new();
        for server in &self.servers {
            let connection = self.connections[&server.connection];
            let waiting = self.waiting(connection.dev);
            let queued = self.queued(connection.dev);
            let row = HolderRow {
                kind: number(RowKind::Holder),
                size: 64,
                connection_ptr: server.connection,
                tgid: server.process.pid,
                fd: 3,
                dev: connection.dev + self.misread_by,
                connected: u32::from(connection.is_connected),
                waiting,
                task_state: if server.is_stopped { 4 } else { 1 },
                queued_seen: waiting,
                queued_emitted: u32::try_from(queued.len()).unwrap(),
                comm: comm(&server.process.comm),
            };
            bytes.extend(row.as_bytes());
            for row in queued {
                bytes.extend(row.as_bytes());
            }
        }
        self.scan(bytes)
    }

    fn queued(&self, dev: u32) -> Vec<QueuedRow> {
        let waits =
            |request: &Request| request.dev == dev && request.is_queued && !self.hides_queues;
        let all = self.requests.iter().filter(|(_, request)| waits(request));
        all.map(|(&number_of, request)| QueuedRow {
            kind: number(RowKind::Queued),
            size: 56,
            request_ptr: number_of,
            unique: number_of,
            nodeid: 1,
            age_ns: self.now - request.start,
            dev,
            opcode: u32::from(request.opcode),
            pid: request.caller.pid,
            at_server: 1,
        })
        .take(256)
        .collect()
    }

    pub(super) fn tasks(&self, is_full: bool) -> Scan {
        let mut bytes = Vec::new();
        let mut add = |row: TaskRow| bytes.extend(row.as_bytes());
        for server in &self.servers {
            if self.watched.contains(&server.process.pid) {
                let state = if server.is_stopped { 4 } else { 1 };
                add(task(&server.process, state, 0, 1, None));
            }
        }
        for request in self.requests.values().filter(|r| r.is_waited_for) {
            let is_walking = request.opcode == 1;
            if is_full || is_walking {
                let function = Some("request_wait_answer");
                let row = task(&request.caller, 1, request.dev, 5, function);
                add(TaskRow {
                    walk_dev: if is_walking { request.dev } else { 0 },
                    file_dev: if is_walking { 0 } else { request.dev },
                    ..row
                });
            }
        }
        for sleeper in self.sleepers.values() {
            let function = Some(sleeper.function.as_str());
            let state = if sleeper.is_interruptible { 1 } else { 2 };
            let (dev, switches) = (sleeper.dev, sleeper.switches);
            let row = task(&sleeper.process, state, dev, switches, function);
            add(TaskRow {
                since_ns: sleeper.since,
                walk_dev: if sleeper.has_walked { 0 } else { dev },
                call_dev: dev,
                cause_dev: sleeper.cause,
                ..row
            });
        }
        self.scan(bytes)
    }

    fn scan(&self, bytes: Vec<u8>) -> Scan {
        Scan {
            bytes,
            is_complete: self.is_scanning,
            begun: Mono(self.now),
        }
    }

    pub(super) fn totals_reading(&self) -> Vec<(TotalsKey, TotalsValue)> {
        let all = self.totals.iter();
        all.map(|(&(dev, op, errno), value)| (TotalsKey { dev, op, errno }, *value))
            .collect()
    }

    pub(super) fn in_flight_reading(&self) -> Vec<(u64, InFlight)> {
        let tracked = self.requests.iter().filter(|(_, r)| r.is_tracked);
        tracked
            .map(|(&number, request)| {
                let entry = InFlight {
                    start_ns: request.start,
                    unique: number,
                    nodeid: 1,
                    dev: request.dev,
                    opcode: u32::from(request.opcode),
                    tgid: request.caller.pid,
                    tid: request.caller.pid,
                    comm: comm(&request.caller.comm),
                    cgroup_id: 0,
                };
                (number, entry)
            })
            .collect()
    }

    pub(super) fn health(&self) -> KernelHealth {
        let probe = |probe: &'static str| {
            let is_resting = self.resting_probes.contains(probe);
            let is_missing = is_resting || self.missing_probes.contains(probe);
            ProbeHealth {
                probe,
                kind: (!is_missing).then_some("tp_btf"),
                is_wanted: !is_resting,
                is_resting,
                reason: if is_missing { "refused" } else { "allowed" }.to_owned(),
                lacks: None,
            }
        };
        KernelHealth {
            counters: self.counters.iter().map(|(name, n)| (*name, *n)).collect(),
            maps: Vec::new(),
            probes: PROBES.map(probe).to_vec(),
        }
    }
}

fn task(process: &Process, state: u32, dev: u32, switches: u64, function: Option<&str>) -> TaskRow {
    let mut stack = [0; STACK_DEPTH];
    let frame = FUNCTIONS.iter().zip(1_u64..);
    let frame = frame
        .filter(|(name, _)| Some(**name) == function)
        .map(|(_, n)| n * 0x1000 + 8);
    let frame = frame.last();
    stack[0] = frame.unwrap_or(0);
    TaskRow {
        kind: number(RowKind::Task),
        size: 208,
        since_ns: 0,
        switches,
        tid: process.pid,
        tgid: process.pid,
        task_state: state,
        walk_dev: dev,
        file_dev: 0,
        call_dev: 0,
        cause_dev: 0,
        mnt_ns: 1,
        syscall: u32::MAX,
        stack_len: u32::from(frame.is_some()),
        comm: comm(&process.comm),
        stack,
    }
}

#[expect(
    clippy::as_conversions,
    reason = "the discriminant of a repr(u32) enum"
)]
fn number(kind: RowKind) -> u32 {
    kind as u32
}

pub(super) fn comm(name: &str) -> [u8; COMM_BYTES] {
    let mut bytes = [0; COMM_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

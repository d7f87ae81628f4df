//! Snapshots for the tests of the views.

use mount_observer_common::{BUCKETS, Op};

mod incident;

pub(crate) use incident::{BEGAN, MINUTE, full_incident, incident};

use crate::{
    alert::{AlertKind, Change, Severity, State, Transition, Victim},
    errno::Errno,
    incident::{AtRisk, AtRiskList, AtRiskWhy, Counts, IncidentId},
    operation::Operation,
    sight::NotSeen,
    snapshot::{
        Abort, BlockedTask, ClassLatency, ExpectedMount, Fuse, Mount, ObserverHealth,
        OperationCount, Probe, Request, Server, ServerStatus, Snapshot, Superblock,
    },
    superblock::{Dev, SuperblockId},
    time::{Mono, Wall},
};

/// 2026-01-02 03:04:05 UTC.
const TAKEN: Wall = Wall(1_767_323_045_000_000_000);

pub(crate) fn id(minor: u32) -> SuperblockId {
    SuperblockId {
        dev: Dev(minor),
        epoch: 0,
    }
}

pub(crate) fn victim(pid: u32, comm: &str, age_ns: Option<u64>) -> Victim {
    Victim {
        pid,
        tid: pid,
        comm: comm.to_owned(),
        operation: Some("LOOKUP".to_owned()),
        age_ns,
        errno: None,
        path: None,
        caused_by: None,
        failed_on: None,
        attribution: None,
    }
}

pub(crate) fn transition() -> Transition {
    Transition {
        change: Change::Firing,
        kind: AlertKind::Hung,
        severity: Severity::Critical,
        incident: IncidentId::of_superblock(TAKEN, Dev(52)),
        returns: 0,
        superblock: Some(id(52)),
        mount_points: vec!["/mnt/a".to_owned()],
        caused_by: Vec::new(),
        fstype: "fuse.bindfs".to_owned(),
        device: "/srv/data".to_owned(),
        mountpoint: "/mnt/a".to_owned(),
        namespace: None,
        successor: None,
        since: Mono(0),
        since_unix_ns: TAKEN,
        age_ns: 31_250_000_000,
        reason: "7 requests wait, the oldest (LOOKUP by stat[123]) for 31.2 s".to_owned(),
        evidence: vec!["server bindfs[99] is stopped".to_owned()],
        victims: (123..130)
            .map(|pid| victim(pid, "stat", Some(u64::from(154 - pid) * 1_000_000_000)))
            .collect(),
        victims_total: 45,
        advice: "continue the server (kill -CONT 99)".to_owned(),
    }
}

fn superblock(minor: u32, state: State, mountpoint: &str) -> Superblock {
    Superblock {
        id: id(minor),
        fstype: "fuse.bindfs".to_owned(),
        device: "/srv/data".to_owned(),
        mountpoint: mountpoint.to_owned(),
        mounts: [Mount {
            mount_point: mountpoint.to_owned(),
            mount_point_escaped: mountpoint.to_owned(),
            root: "/".to_owned(),
            mount_namespace: 4_026_531_841,
            is_own_namespace: true,
            mount_id: minor,
            is_covered: false,
            options: "rw".to_owned(),
        }]
        .into(),
        state,
        severity: match state {
            State::Ok | State::Unknown => None,
            State::Slow | State::Erroring | State::Stuck => Some(Severity::Warning),
            State::Hung | State::Dead => Some(Severity::Critical),
        },
        since: Mono(0),
        since_unix_ns: Wall(TAKEN.0 - 20_000_000_000),
        reason: String::new(),
        evidence: Vec::new(),
        advice: String::new(),
        in_flight: 0,
        requests: Vec::new(),
        oldest_request_age_ns: None,
        blocked: 0,
        blocked_tasks: Vec::new(),
        failures: Vec::new(),
        at_risk: AtRiskList::default(),
        fuse: Some(Fuse {
            connection: Dev(minor),
            is_connected: Some(true),
            waiting: Some(0),
            servers: vec![Server {
                pid: 90 + minor,
                comm: "bindfs".to_owned(),
                unit: None,
                status: ServerStatus::Running,
                exit: None,
            }],
            server_status: ServerStatus::Running,
            abort: None,
        }),
        operations: vec![OperationCount {
            operation: Operation(Op::Fuse(1)),
            errno: None,
            count: u64::from(minor),
        }],
        latency: vec![latency()],
    }
}

/// 2 below 2 us, 1 between 2.1 s and 4.3 s.
fn latency() -> ClassLatency {
    let mut buckets = [0; BUCKETS];
    buckets[0] = 2;
    buckets[21] = 1;
    ClassLatency {
        class: "metadata",
        buckets,
        sum_ns: 3_000_003_000,
    }
}

/// A healthy NFS mount, a hung one, a dead one, and one of each milder state.
pub(crate) fn snapshot() -> Snapshot {
    let mut dead = superblock(
        52,
        State::Dead,
        "/mnt/dead\u{1b}[2J\nChecked 1 mount; 0 are dead",
    );
    dead.reason = "server bindfs[142] is gone".to_owned();
    if let Some(fuse) = &mut dead.fuse {
        fuse.is_connected = Some(false);
        fuse.server_status = ServerStatus::Gone;
        fuse.servers[0].status = ServerStatus::Gone;
        fuse.servers[0].exit = Some("SIGKILL".to_owned());
        fuse.abort = Some(abort());
    }
    dead.operations.push(OperationCount {
        operation: Operation(Op::Fuse(3)),
        errno: Some(Errno::ENOTCONN),
        count: 1_000,
    });

    let mut hung = superblock(53, State::Hung, "/mnt/hung");
    hung.reason = "3 requests wait, the oldest (LOOKUP by stat[123]) for 31.2 s".to_owned();
    hung.in_flight = 3;
    hung.oldest_request_age_ns = Some(31_250_000_000);
    hung.blocked = 3;
    hung.blocked_tasks = vec![BlockedTask {
        pid: 123,
        tid: 123,
        comm: "stat".to_owned(),
        task_state: 'S',
        waits_in: Some("request_wait_answer".to_owned()),
        operation: Some(Operation(Op::Fuse(1))),
        caused_by: None,
        age_ns: Some(31_250_000_000),
        stack: Vec::new(),
    }];
    if let Some(fuse) = &mut hung.fuse {
        fuse.waiting = Some(3);
        fuse.server_status = ServerStatus::Stopped;
        fuse.servers[0].status = ServerStatus::Stopped;
    }

    let mut nfs = superblock(60, State::Ok, "/home");
    nfs.fstype = "nfs4".to_owned();
    nfs.device = "server:/home".to_owned();
    nfs.fuse = None;
    nfs.latency.clear();

    let mut unknown = superblock(55, State::Unknown, "/mnt/unknown");
    unknown.reason = "records were lost in the last minute".to_owned();

    Snapshot {
        taken_unix_ns: TAKEN,
        taken: Mono(0),
        superblocks: vec![
            dead,
            hung,
            unknown,
            superblock(54, State::Ok, "/mnt/ok"),
            nfs,
        ],
        mounts_seen: 40,
        superblocks_out_of_scope: 30,
        unattributed: vec![OperationCount {
            operation: Operation(Op::Syscall(3)),
            errno: Some(Errno::EIO),
            count: 2,
        }],
        expected: vec![missing()],
        observer: health(),
    }
}

fn health() -> ObserverHealth {
    let mut incidents = Counts::default();
    incidents.by_kind.insert(AlertKind::Dead, 3);
    incidents.delays[3] = 2;
    incidents.delays[11] = 1;
    incidents.delays_sum_ns = 900_000_000_000;
    ObserverHealth {
        incidents,
        incidents_active: 1,
        degraded: vec!["fuse_end is not attached: CAP_BPF is missing".to_owned()],
        probes: vec![
            Probe {
                probe: "fuse_send",
                kind: Some("tp_btf"),
                is_wanted: true,
                reason: "direct loads".to_owned(),
            },
            Probe {
                probe: "fuse_end",
                kind: None,
                is_wanted: true,
                reason: "CAP_BPF is missing".to_owned(),
            },
        ],
        not_seen: vec![NotSeen {
            probe: "fuse_return",
            what: "requests that are refused",
        }],
        events: vec![("record", 5), ("mountinfo", 1)],
        dropped: vec![("ring_full", 0)],
        maps: vec![("IN_FLIGHT", 3, 65_536)],
        self_touches: 0,
        transitions: vec![("dead", "firing", 1)],
        recoveries: vec![("/mnt/dead".to_owned(), "dry_run", 1)],
    }
}

fn abort() -> Abort {
    Abort {
        cause: "server_exit",
        at_unix_ns: TAKEN,
        pid: Some(142),
        comm: Some("bindfs".to_owned()),
    }
}

/// An expected mount that is not there.
fn missing() -> ExpectedMount {
    ExpectedMount {
        mountpoint: "/srv/expected".to_owned(),
        is_present: Some(false),
        absent_ns: Some(12_000_000_000),
        alert: Some("shadow_writes"),
        shadow_writes: 3,
        underneath: AtRiskList::default(),
    }
}

/// With something in every list.
pub(crate) fn full_snapshot() -> Snapshot {
    let mut snapshot = snapshot();
    for superblock in &mut snapshot.superblocks {
        superblock.evidence.push("a fact".to_owned());
        superblock.requests.push(Request {
            operation: Operation(Op::Fuse(1)),
            unique: None,
            nodeid: 1,
            age_ns: None,
            pid: None,
            tid: None,
            comm: None,
            is_at_server: None,
            source: "queue",
        });
        superblock.failures.push(Victim {
            caused_by: Some("0:45 at /mnt/x".to_owned()),
            failed_on: Some("0:60 at /mnt/overlay".to_owned()),
            attribution: Some("path"),
            ..victim(1, "stat", None)
        });
        superblock.at_risk.add(AtRisk {
            operation: "WRITE".to_owned(),
            why: AtRiskWhy::Failed,
            errno: None,
            path: None,
            nodeid: None,
            pid: None,
            comm: None,
            offset: None,
            length: None,
            at_unix_ns: Wall::default(),
        });
    }
    snapshot
}

/// Nothing wrong.
pub(crate) fn healthy_snapshot() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot
        .superblocks
        .retain(|superblock| superblock.state == State::Ok);
    snapshot.expected.clear();
    snapshot.observer.degraded.clear();
    snapshot.observer.not_seen.clear();
    snapshot
}

/// Leaves a superblock mounted in another namespace only.
pub(crate) fn move_elsewhere(superblock: &mut Superblock) {
    superblock.mounts = (superblock.mounts.iter())
        .map(|mount| Mount {
            mount_namespace: 4_026_532_001,
            is_own_namespace: false,
            ..mount.clone()
        })
        .collect();
}

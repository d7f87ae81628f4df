//! FUSE: `fs/fuse/{dev,inode,control}.c`, and who serves it.

use super::{Prototype, Way, way};
use crate::plan::{
    Mechanism::{FEntry, FExit, Iterator, KProbe, RawTracepoint, TestRun, TpBtf},
    Probe,
};

/// The request's fields that both ends of a request need.
const REQUEST: &[&str] = &[
    "OFF_REQ_OPCODE",
    "OFF_REQ_ERROR",
    "OFF_SB_DEV",
    "OFF_FC_DEV",
];
/// From a request to its superblock: `fm` is gone since 7.2.
const REQUEST_DEV: &[&[&str]] = &[&["OFF_REQ_FM", "OFF_FM_SB"], &["OFF_REQ_CHAN"]];
/// From a request to its connection.
const REQUEST_OWNER: &[&[&str]] = &[&["OFF_REQ_FM", "OFF_FM_FC"], &["OFF_REQ_CHAN"]];
const CONNECTION: &[&str] = &["OFF_CONN_CONNECTED", "OFF_CONN_WAITING", "OFF_FC_DEV"];
const EXIT: &[&str] = &["OFF_TASK_TGID", "OFF_TASK_SIGNAL", "OFF_SIGNAL_LIVE"];
const HOLDERS: &[&str] = &[
    "OFF_FILE_INODE",
    "OFF_FILE_PRIVATE",
    "OFF_INODE_RDEV",
    "OFF_FUD_CONN",
    "OFF_CONN_CONNECTED",
    "OFF_CONN_WAITING",
    "OFF_FC_DEV",
    "OFF_TASK_TGID",
    "OFF_TASK_STATE",
    "OFF_TASK_COMM",
    // The walk reads these through the helper, where no verifier stops a missing one.
    "OFF_CONN_PENDING",
    "OFF_FUD_IO",
    "OFF_FUD_PROCESSING",
    "OFF_REQ_LIST",
    "OFF_REQ_OPCODE",
];
/// Of those, what it takes to tell who holds a connection.
const HELD: &[&str] = &[
    "OFF_FILE_INODE",
    "OFF_FILE_PRIVATE",
    "OFF_INODE_RDEV",
    "OFF_FUD_CONN",
    "OFF_CONN_CONNECTED",
    "OFF_CONN_WAITING",
    "OFF_FC_DEV",
    "OFF_TASK_TGID",
    "OFF_TASK_STATE",
    "OFF_TASK_COMM",
];
/// From `struct fuse_mount` to its superblock, and what is asked for.
const CALLED: &[&str] = &["OFF_FM_SB", "OFF_SB_DEV", "OFF_ARGS_OPCODE"];
const ABORT: &[&str] = &["OFF_FC_DEV", "OFF_CONN_CONNECTED"];
const RELEASE: &[&str] = &["OFF_FILE_PRIVATE", "OFF_FUD_CONN", "OFF_FC_DEV"];

/// 5.10 to 6.11; since then `fuse_request_send` is a tracepoint.
const QUEUE: Prototype = Prototype {
    parameters: &["struct fuse_iqueue *", "struct fuse_req *"],
    result: "void",
};
/// 5.10 to 7.3.
const END: Prototype = Prototype {
    parameters: &["struct fuse_req *"],
    result: "void",
};
/// 5.10 to 6.11.
const CALL: Prototype = Prototype {
    parameters: &["struct fuse_mount *", "struct fuse_args *"],
    result: "ssize_t",
};
/// 6.12 to 7.3.
const CALL_IDMAP: Prototype = Prototype {
    parameters: &[
        "struct mnt_idmap *",
        "struct fuse_mount *",
        "struct fuse_args *",
    ],
    result: "ssize_t",
};
/// 5.10 to 7.3.
const BACKGROUND: Prototype = Prototype {
    parameters: &["struct fuse_mount *", "struct fuse_args *", "gfp_t"],
    result: "int",
};
/// 7.2 and later.
const ABORT_CHANNEL: Prototype = Prototype {
    parameters: &["struct fuse_chan *", "bool"],
    result: "void",
};
/// Before 7.2.
const ABORT_CONNECTION: Prototype = Prototype {
    parameters: &["struct fuse_conn *"],
    result: "void",
};
/// 5.10 to 7.3.
const DEVICE_RELEASE: Prototype = Prototype {
    parameters: &["struct inode *", "struct file *"],
    result: "int",
};

pub(super) fn send() -> Vec<Way> {
    vec![
        way(TpBtf, "fuse_send", "fuse_request_send", REQUEST).with(REQUEST_DEV),
        way(RawTracepoint, "fuse_send_raw", "fuse_request_send", REQUEST).with(REQUEST_DEV),
        way(
            FEntry,
            "fuse_send_fentry",
            "queue_request_and_unlock",
            REQUEST,
        )
        .with(REQUEST_DEV)
        .on(QUEUE),
        way(
            KProbe,
            "fuse_send_kprobe",
            "queue_request_and_unlock",
            REQUEST,
        )
        .with(REQUEST_DEV)
        .on(QUEUE),
    ]
}

pub(super) fn end() -> Vec<Way> {
    vec![
        way(TpBtf, "fuse_end", "fuse_request_end", REQUEST).with(REQUEST_DEV),
        way(RawTracepoint, "fuse_end_raw", "fuse_request_end", REQUEST).with(REQUEST_DEV),
        way(FEntry, "fuse_end_fentry", "fuse_request_end", REQUEST)
            .with(REQUEST_DEV)
            .on(END),
        way(KProbe, "fuse_end_kprobe", "fuse_request_end", REQUEST)
            .with(REQUEST_DEV)
            .on(END),
    ]
}

/// The typed ones take it that every call they open is closed; the others know that none is.
pub(super) fn call() -> Vec<Way> {
    vec![
        way(FEntry, "fuse_call_idmap", "__fuse_simple_request", CALLED)
            .on(CALL_IDMAP)
            .after(Probe::FuseReturn),
        way(FEntry, "fuse_call", "fuse_simple_request", CALLED)
            .on(CALL)
            .after(Probe::FuseReturn),
        way(
            KProbe,
            "fuse_call_idmap_kprobe",
            "__fuse_simple_request",
            CALLED,
        )
        .on(CALL_IDMAP),
        way(KProbe, "fuse_call_kprobe", "fuse_simple_request", CALLED).on(CALL),
    ]
}

/// The index of the result is the number of parameters: two programs.
pub(super) fn returned() -> Vec<Way> {
    vec![
        way(FExit, "fuse_return_idmap", "__fuse_simple_request", CALLED).on(CALL_IDMAP),
        way(FExit, "fuse_return", "fuse_simple_request", CALLED).on(CALL),
    ]
}

pub(super) fn background() -> Vec<Way> {
    vec![way(FExit, "fuse_background", "fuse_simple_background", CALLED).on(BACKGROUND)]
}

pub(super) fn abort() -> Vec<Way> {
    vec![
        way(FEntry, "abort_channel", "fuse_chan_abort", ABORT).on(ABORT_CHANNEL),
        way(FEntry, "abort_connection", "fuse_abort_conn", ABORT).on(ABORT_CONNECTION),
        way(KProbe, "abort_channel_kprobe", "fuse_chan_abort", ABORT).on(ABORT_CHANNEL),
        way(KProbe, "abort_connection_kprobe", "fuse_abort_conn", ABORT).on(ABORT_CONNECTION),
    ]
}

pub(super) fn release() -> Vec<Way> {
    vec![
        way(FEntry, "device_release", "fuse_dev_release", RELEASE).on(DEVICE_RELEASE),
        way(KProbe, "device_release_kprobe", "fuse_dev_release", RELEASE).on(DEVICE_RELEASE),
    ]
}

pub(super) fn server_exit() -> Vec<Way> {
    vec![way(TpBtf, "server_exit", "sched_process_exit", EXIT)]
}

/// A file leads to its connection by an untyped pointer. Unread, it would say that nobody holds one.
pub(super) fn holders() -> Vec<Way> {
    let probing = way(Iterator, "holders", "task_file", HOLDERS).with(REQUEST_OWNER);
    let casting = Way {
        reason: "through types: who holds each connection, not the requests queued on it",
        lacks: Some(
            "requests older than the observer: a mount that has some, and ends none, is unknown",
        ),
        ..way(Iterator, "holders_cast", "task_file", HELD)
    };
    vec![probing.needing(&["probe_read_kernel"]), casting.casting()]
}

pub(super) fn connection_check() -> Vec<Way> {
    let casting = Way {
        reason: "asks for one connection without a scan, through its type",
        ..way(TestRun, "connection_check_cast", "", CONNECTION)
    };
    vec![
        way(TestRun, "connection_check", "", CONNECTION),
        casting.casting(),
    ]
}

//! The programs that can serve each probe, and the fields of the kernel's structures they read.

use super::{Candidate, Mechanism, Probe};
use crate::config::StatxMode;

/// A candidate and the offsets it cannot do without.
pub(super) struct Way {
    pub(super) candidate: Candidate,
    pub(super) offsets: &'static [&'static str],
    /// One of these too: kernels differ in how a request leads to its connection.
    pub(super) variants: &'static [&'static [&'static str]],
}

const fn way(
    mechanism: Mechanism,
    program: &'static str,
    target: &'static str,
    reason: &'static str,
    offsets: &'static [&'static str],
) -> Way {
    Way {
        candidate: Candidate {
            mechanism,
            program,
            target,
            reason,
        },
        offsets,
        variants: &[],
    }
}

impl Way {
    const fn with(self, variants: &'static [&'static [&'static str]]) -> Self {
        Self { variants, ..self }
    }
}

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
const TASKS: &[&str] = &[
    "OFF_TASK_PID",
    "OFF_TASK_TGID",
    "OFF_TASK_STATE",
    "OFF_TASK_NAMEIDATA",
];
const SYSCALL: &[&str] = &[
    "OFF_REGS_NR",
    "OFF_REGS_ARG0",
    "OFF_REGS_ARG1",
    "OFF_SB_DEV",
];

const TYPED: &str = "typed arguments: loads are checked at load time and cost nothing extra";
const UNTYPED: &str = "serves FUSE as a module too; each field costs a bpf_probe_read_kernel";
const ITERATOR: &str = "no hook: runs when asked";

/// The ways to serve a probe, best first.
pub(super) fn ways(probe: Probe, statx: StatxMode) -> Vec<Way> {
    use Mechanism::{Iterator, RawTracepoint, TestRun, TpBtf};
    match probe {
        Probe::FuseSend => vec![
            way(TpBtf, "fuse_send", "fuse_request_send", TYPED, REQUEST).with(REQUEST_DEV),
            way(
                RawTracepoint,
                "fuse_send_raw",
                "fuse_request_send",
                UNTYPED,
                REQUEST,
            )
            .with(REQUEST_DEV),
        ],
        Probe::FuseEnd => vec![
            way(TpBtf, "fuse_end", "fuse_request_end", TYPED, REQUEST).with(REQUEST_DEV),
            way(
                RawTracepoint,
                "fuse_end_raw",
                "fuse_request_end",
                UNTYPED,
                REQUEST,
            )
            .with(REQUEST_DEV),
        ],
        Probe::ServerExit => {
            vec![way(TpBtf, "server_exit", "sched_process_exit", TYPED, EXIT)]
        }
        Probe::Holders => {
            vec![way(Iterator, "holders", "task_file", ITERATOR, HOLDERS).with(REQUEST_OWNER)]
        }
        Probe::Tasks => vec![way(Iterator, "tasks", "task", ITERATOR, TASKS)],
        Probe::ConnectionCheck => vec![way(
            TestRun,
            "connection_check",
            "",
            "asks for one connection without a scan",
            CONNECTION,
        )],
        Probe::PathExit if statx == StatxMode::Full => {
            vec![way(TpBtf, "path_exit_full", "sys_exit", TYPED, SYSCALL)]
        }
        Probe::PathExit => vec![way(TpBtf, "path_exit_errors", "sys_exit", TYPED, SYSCALL)],
        Probe::PathEnter => vec![way(TpBtf, "path_enter", "sys_enter", TYPED, SYSCALL)],
    }
}

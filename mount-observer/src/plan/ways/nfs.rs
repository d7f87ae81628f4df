//! NFS: `net/sunrpc/sched.c`, `fs/nfs/client.c`.

use super::{Prototype, Way, way};
use crate::plan::Mechanism::{KProbe, RawTracepoint, TestRun};

const END: &[&str] = &[
    "OFF_RPC_STATUS",
    "OFF_RPC_CLIENT",
    "OFF_RPC_PROCEDURE",
    "OFF_RPC_REQUEST",
    "OFF_RPC_START",
    "OFF_CLIENT_PROGRAM",
    "OFF_CLIENT_VERSION",
    "OFF_CLIENT_PARENT",
    "OFF_PROCEDURE_NUMBER",
    "OFF_PROCEDURE_NAME",
    "OFF_NFS_CLIENT",
    "OFF_NFS_SUPER",
    "OFF_SB_DEV",
];
const MOUNTS: &[&str] = &[
    "OFF_SB_LIST",
    "OFF_SB_MAGIC",
    "OFF_SB_FS_INFO",
    "OFF_SB_DEV",
    "OFF_NFS_CLIENT",
    "OFF_NFS_SUPER",
    "OFF_TASK_FS",
    "OFF_FS_ROOT_DENTRY",
    "OFF_DENTRY_SB",
];

/// 5.10 to 7.3.
const EXIT_TASK: Prototype = Prototype {
    parameters: &["struct rpc_task *"],
    result: "void",
};

/// A tracepoint of a module with typed arguments would need that module's BTF, which 5.10 has not.
pub(super) fn end() -> Vec<Way> {
    vec![
        way(RawTracepoint, "nfs_end", "rpc_task_end", END).in_module(),
        way(KProbe, "nfs_end_kprobe", "rpc_exit_task", END).on(EXIT_TASK),
    ]
}

pub(super) fn mounts() -> Vec<Way> {
    vec![way(TestRun, "nfs_mounts", "", MOUNTS)]
}

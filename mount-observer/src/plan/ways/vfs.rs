//! Any file system: `fs/{stat,namei}.c`, and the system calls on paths.

use super::{ANY, Prototype, Way, way};
use crate::{
    config::StatxMode,
    plan::Mechanism::{FEntry, FExit, Iterator, KProbe, TpBtf},
};

const TASKS: &[&str] = &[
    "OFF_TASK_PID",
    "OFF_TASK_TGID",
    "OFF_TASK_STATE",
    "OFF_TASK_NAMEIDATA",
];
const FILES: &[&str] = &[
    "OFF_FILE_MODE",
    "OFF_FILE_POSITION",
    "OFF_FILE_INODE",
    "OFF_INODE_SB",
    "OFF_INODE_NUMBER",
    "OFF_INODE_SIZE",
    "OFF_SB_DEV",
    "OFF_TASK_PID",
    "OFF_TASK_TGID",
    "OFF_TASK_COMM",
];
/// What leads from a file to its path.
const PATH_OF_FILE: &[&[&str]] = &[&["OFF_FILE_PATH"]];
const NAMES: &[&[&str]] = &[&["OFF_FILE_DENTRY", "OFF_DENTRY_PARENT", "OFF_DENTRY_NAME"]];
const SYSCALL: &[&str] = &[
    "OFF_REGS_NR",
    "OFF_REGS_ARG0",
    "OFF_REGS_ARG1",
    "OFF_SB_DEV",
];
const WALK: &[&str] = &["OFF_ND_DENTRY", "OFF_DENTRY_SB", "OFF_SB_DEV"];
const ATTR: &[&str] = &["OFF_PATH_MNT", "OFF_MNT_SB", "OFF_SB_DEV"];

/// 5.10 to 7.3; the second is `const char *` before 6.1 and `struct filename *` since.
const STATX: Prototype = Prototype {
    parameters: &["int", ANY, "int", "struct kstat *", "u32"],
    result: "int",
};
/// 5.10 to 7.3.
const TERMINATE_WALK: Prototype = Prototype {
    parameters: &["struct nameidata *"],
    result: "void",
};
/// 5.10 to 7.3.
const GETATTR: Prototype = Prototype {
    parameters: &["struct path *", "struct kstat *", "u32", "unsigned int"],
    result: "int",
};

pub(super) fn tasks() -> Vec<Way> {
    vec![way(Iterator, "tasks", "task", TASKS)]
}

pub(super) fn stat_enter() -> Vec<Way> {
    vec![
        way(FEntry, "stat_enter", "vfs_statx", &[]).on(STATX),
        way(KProbe, "stat_enter_kprobe", "vfs_statx", &[]).on(STATX),
    ]
}

/// Without it `sys_exit` ends the call.
pub(super) fn stat_exit() -> Vec<Way> {
    vec![way(FExit, "stat_exit", "vfs_statx", &[]).on(STATX)]
}

pub(super) fn walk_end() -> Vec<Way> {
    vec![
        way(FEntry, "walk_end", "terminate_walk", WALK).on(TERMINATE_WALK),
        way(KProbe, "walk_end_kprobe", "terminate_walk", WALK).on(TERMINATE_WALK),
    ]
}

pub(super) fn attr_enter() -> Vec<Way> {
    vec![
        way(FEntry, "attr_enter", "vfs_getattr_nosec", ATTR).on(GETATTR),
        way(KProbe, "attr_enter_kprobe", "vfs_getattr_nosec", ATTR).on(GETATTR),
    ]
}

pub(super) fn attr_exit() -> Vec<Way> {
    vec![way(FExit, "attr_exit", "vfs_getattr_nosec", &[]).on(GETATTR)]
}

pub(super) fn path_exit(statx: StatxMode) -> Vec<Way> {
    let program = if statx == StatxMode::Full {
        "path_exit_full"
    } else {
        "path_exit_errors"
    };
    vec![way(TpBtf, program, "sys_exit", SYSCALL)]
}

/// The node of a FUSE file is read where it can be.
pub(super) fn files() -> Vec<Way> {
    let casting = Way {
        reason: "through types, and paths as the kernel shows them",
        ..way(Iterator, "files_cast", "task_file", FILES)
    };
    let names = Way {
        reason: "names read one by one: the kernel has bpf_d_path for no iterator",
        ..way(Iterator, "files_by_name", "task_file", FILES)
    };
    vec![
        way(Iterator, "files", "task_file", FILES)
            .with(PATH_OF_FILE)
            .needing(&["probe_read_kernel", "d_path"]),
        casting.with(PATH_OF_FILE).casting().needing(&["d_path"]),
        names.with(NAMES).needing(&["probe_read_kernel"]),
    ]
}

pub(super) fn shadow_writes() -> Vec<Way> {
    vec![way(TpBtf, "shadow_write", "sys_exit", SYSCALL)]
}

pub(super) fn path_enter() -> Vec<Way> {
    vec![way(TpBtf, "path_enter", "sys_enter", SYSCALL)]
}

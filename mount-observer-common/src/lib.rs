//! What crosses the boundary between the eBPF programs and the daemon: map keys and values, ring
//! buffer records, iterator rows, and the names of the values injected at load time.
//!
//! Every type is `repr(C)` with explicit padding, because the verifier lets a privileged program
//! copy uninitialised stack: hidden padding would become part of a hash key.
//! Nothing here decides anything.

#![no_std]

mod abort;
mod buckets;
mod calls;
mod counters;
mod in_flight;
mod nfs;
mod offsets;
mod record;
mod rows;
mod settings;
mod shadow;
mod syscalls;
mod text;
mod totals;
mod trace;
mod wire;

pub use abort::AbortCause;
pub use buckets::{BUCKETS, bucket_of, bucket_upper_bound_ns};
pub use calls::{CALL_FSTAT, CALL_STATX, CALLS_MAX, Call, CallStage, FuseCall};
pub use counters::Counter;
pub use in_flight::InFlight;
pub use nfs::{
    NFS_NAME_BYTES, NFS_NAMES_MAX, NFS_PROCEDURE_BITS, NFS_SERVERS_MAX, NfsServer, NfsWalk,
};
pub use offsets::{
    ABSENT, CAST, CAST_TYPES, FieldPath, HELPER_SWITCHES, HelperSwitch, MAY_READ_KERNEL, OFFSETS,
};
pub use record::{
    NAME_BYTES, PATH_MAX_BYTES, PathRecord, Record, RecordKind, RiskRecord, TRACE_NAME_BYTES,
    TraceRecord, WRITING_OPCODES,
};
pub use rows::{
    FILE_PATH_BYTES, FileRow, HolderRow, PathForm, QUEUED_MAX, QueuedRow, RowKind, STACK_DEPTH,
    TaskRow,
};
pub use settings::{ScanMode, Settings};
pub use shadow::{EXPECTED_MAX, ShadowSlot};
pub use syscalls::{
    AT_FDCWD, MATCHED_PATH_BYTES, MountPath, MountTarget, NO_ARGUMENT, PathArguments,
    SCOPE_FILTER_WORDS, SYSCALL_OPS_MAX, SyscallOp,
};
pub use text::{TEXT_RANGES_MAX, TextRange, TextRanges};
pub use totals::{Op, TotalsKey, TotalsSlot, TotalsValue};
pub use trace::{
    TRACE_CGROUPS_MAX, TRACE_COMMS_MAX, TRACE_ERRNO_REST, TRACE_FUSE_REST, TRACE_PIDS_MAX,
    TraceFilter, TraceState,
};

/// Bytes of a task's `comm` (`TASK_COMM_LEN`, `include/linux/sched.h`), NUL-padded.
pub const COMM_BYTES: usize = 16;

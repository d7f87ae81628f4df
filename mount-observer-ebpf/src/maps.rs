//! Every map, its size and why. Sizes marked "loader" are set at load from the CPU count.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, PerCpuHashMap, RingBuf, lpm_trie::Key},
};
use mount_observer_common::{
    CALLS_MAX, Call, Counter, EXPECTED_MAX, FuseCall, HolderRow, InFlight, MountPath, MountTarget,
    NFS_NAME_BYTES, NFS_NAMES_MAX, NFS_SERVERS_MAX, NfsServer, NfsWalk, PathArguments, QueuedRow,
    SCOPE_FILTER_WORDS, SYSCALL_OPS_MAX, Settings, ShadowSlot, TaskRow, TextRanges, TotalsKey,
    TotalsSlot, TraceFilter, TraceState,
};

use crate::memo::Memo;

/// What the daemon tells the programs.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// What the next run of `tasks` looks at (`ScanMode`). Apart from `SETTINGS`, because whoever runs
/// the scan sets it.
#[map]
pub static SCAN_MODE: Array<u32> = Array::with_max_entries(1, 0);

/// See [`Counter`]. 22 x 8 B per CPU.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Requests sent and not ended, by the address of their `struct fuse_req`; and idle entries, of
/// requests that ended, kept for the next request at that address.
///
/// Never LRU: that evicts the oldest entry, exactly the stall we look for. A full map refuses
/// and counts. Preallocated, because a request is sent in any context: 16 384 x 120 B = 1.9 MiB.
#[map]
pub static IN_FLIGHT: HashMap<u64, InFlight> = HashMap::with_max_entries(16_384, 0);

/// Counters and histograms per superblock, operation and errno: 160 B per entry and CPU.
/// Loader: at most 16 384 entries and 32 MiB.
#[map]
pub static TOTALS: PerCpuHashMap<TotalsKey, TotalsSlot> =
    PerCpuHashMap::with_max_entries(16_384, 0);

/// Records for the daemon. Loader: 1 MiB unless configured.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records of a trace. Loader: one page unless there is one.
#[map]
pub static TRACES: RingBuf = RingBuf::with_byte_size(1 << 12, 0);

/// What a trace wants to see.
#[map]
pub static TRACE_FILTER: Array<TraceFilter> = Array::with_max_entries(1, 0);

/// Where the sampling of a trace stands, and the announcing of its records.
#[map]
pub static TRACE_STATE: PerCpuArray<TraceState> = PerCpuArray::with_max_entries(1, 0);

/// Processes that serve a FUSE connection (value unused): 16 384 mounts with one server each.
/// Written by the daemon only, so entries are allocated as they come.
#[map]
pub static SERVERS: HashMap<u32, u32> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Superblocks in scope, by `s_dev` (value unused): what path syscalls are attributed to.
#[map]
pub static SCOPE: HashMap<u32, u32> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Mount points in scope, for the tasks that see them under that path; the value is the superblock
/// on top. Two entries per mount point and namespace.
#[map]
pub static MOUNT_POINTS: LpmTrie<MountPath, MountTarget> = LpmTrie::with_max_entries(65_536, 0);

/// Counts the changes of `MOUNT_POINTS`, from 1: what was learnt from it before is void.
#[map]
pub static MOUNT_POINTS_CHANGES: Array<u64> = Array::with_max_entries(1, 0);

/// The last answer of `MOUNT_POINTS` on each CPU. Per CPU for the same reason as `PATH_KEY`.
#[map]
pub static MEMO: PerCpuArray<Memo> = PerCpuArray::with_max_entries(1, 0);

/// In front of `SCOPE`: one bit per device number modulo 4096.
#[map]
pub static SCOPE_FILTER: Array<u64> = Array::with_max_entries(SCOPE_FILTER_WORDS, 0);

/// Where the path arguments of a system call are, by its number. 512 x 8 B.
#[map]
pub static SYSCALL_OPS: Array<PathArguments> = Array::with_max_entries(SYSCALL_OPS_MAX, 0);

/// What each thread asks a filesystem, by the low bits of its number: an array lookup is compiled
/// into the program and nothing is ever deleted. 65 536 x 40 B = 2.5 MiB, one element unless calls
/// are followed.
#[map]
pub static CALLS: Array<Call> = Array::with_max_entries(CALLS_MAX, 0);

/// The FUSE request each thread waits for, in the same way. 65 536 x 32 B = 2 MiB.
#[map]
pub static FUSE_CALLS: Array<FuseCall> = Array::with_max_entries(CALLS_MAX, 0);

/// Which `struct nfs_server` each `struct rpc_clnt` belongs to, as the last look at all superblocks
/// found; the daemon deletes what is gone. Preallocated: the kernel warns of a raw tracepoint whose maps
/// are not (`check_map_prog_compatibility`, `kernel/bpf/verifier.c`, v5.10). 4096 x 72 B.
#[map]
pub static NFS_SERVERS: HashMap<u64, NfsServer> = HashMap::with_max_entries(NFS_SERVERS_MAX, 0);

/// Where that look stands.
#[map]
pub static NFS_WALK: Array<NfsWalk> = Array::with_max_entries(1, 0);

/// Superblocks whose files open for writing are looked for, and whether they are FUSE's. Written by the
/// daemon before each look.
#[map]
pub static FILES_ASKED: HashMap<u32, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Mount points on which something should be mounted and is not; the value is the place in
/// `SHADOW_WRITES`. One entry each, for what lies below.
#[map]
pub static EXPECTED: LpmTrie<MountPath, u32> = LpmTrie::with_max_entries(EXPECTED_MAX, 0);

/// What was written below each. 64 x 24 B per CPU.
#[map]
pub static SHADOW_WRITES: PerCpuArray<ShadowSlot> = PerCpuArray::with_max_entries(EXPECTED_MAX, 0);

/// As `PATH_KEY`, for the program that looks for these.
#[map]
pub static SHADOW_KEY: PerCpuArray<Key<MountPath>> = PerCpuArray::with_max_entries(1, 0);

/// What the kernel calls each NFS procedure, by protocol and number; empty until it was met.
/// 512 x 24 B.
#[map]
pub static NFS_NAMES: Array<[u8; NFS_NAME_BYTES]> = Array::with_max_entries(NFS_NAMES_MAX, 0);

/// Where a failed path is put together for the lookup. Per CPU; the only program that uses it does
/// not run twice on one CPU (`bpf_prog_active` and its successors, `kernel/bpf/trampoline.c`).
#[map]
pub static PATH_KEY: PerCpuArray<Key<MountPath>> = PerCpuArray::with_max_entries(1, 0);

/// The functions in which a task waits for a filesystem. In one value, like the next: found once, all
/// of it can be read.
#[map]
pub static WAIT_FUNCTIONS: Array<TextRanges> = Array::with_max_entries(1, 0);

/// The functions that abort FUSE connections, tagged with an `AbortCause`.
#[map]
pub static ABORT_CAUSES: Array<TextRanges> = Array::with_max_entries(1, 0);

/// Where the iterators put a row together: too large for the stack. One element, because the
/// daemon runs one scan at a time.
#[map]
pub static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// See [`SCRATCH`].
#[repr(C)]
pub struct Scratch {
    /// The row of a `/dev/fuse` descriptor.
    pub holder: HolderRow,
    /// The requests found from it.
    pub queued: [QueuedRow; crate::walk::ROWS_ROOM],
    /// `fuse_pqueue.processing`: 256 list heads of two pointers each.
    pub heads: [[u64; 2]; crate::walk::PROCESSING_LISTS],
    /// Heads of the lists worth a visit.
    pub lists: [u64; crate::walk::LISTS_MAX],
    /// Where the walk over them stands.
    pub walk: crate::walk::Walk,
    /// The row of a task.
    pub task: TaskRow,
    /// The row of a file and its path.
    pub file: crate::files::Room,
}

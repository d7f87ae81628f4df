//! NFS operations as they end, and the superblocks they belong to.
//!
//! One place sees the end of every remote procedure call, of whatever version and whether somebody waits
//! for it: `rpc_exit_task` (`net/sunrpc/sched.c`, v5.10 to v7.3), where the kernel's own statistics
//! (`/proc/self/mountstats`) are kept too. A call knows its client and no superblock; each NFS superblock
//! has a client of its own (`nfs_init_server_rpcclient`, `fs/nfs/client.c`), and clients made from it
//! for a single purpose (ACLs, another security flavour) name it as their parent.

mod traced;

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    macros::{kprobe, raw_tracepoint},
    programs::{ProbeContext, RawTracePointContext},
};
use mount_observer_common::{
    Counter, NFS_NAME_BYTES, NFS_PROCEDURE_BITS, NfsServer, NfsWalk, Op, TotalsKey,
};

use crate::{
    calls::Timing,
    counters::{count, count_if_current_is_self},
    kernel::{
        MAY_READ_KERNEL, OFF_CLIENT_PARENT, OFF_CLIENT_PROGRAM, OFF_CLIENT_VERSION, OFF_DENTRY_SB,
        OFF_FS_ROOT_DENTRY, OFF_NFS_CLIENT, OFF_NFS_SUPER, OFF_PROCEDURE_NAME,
        OFF_PROCEDURE_NUMBER, OFF_RPC_CLIENT, OFF_RPC_PROCEDURE, OFF_RPC_REQUEST, OFF_RPC_START,
        OFF_RPC_STATUS, OFF_SB_DEV, OFF_SB_FS_INFO, OFF_SB_LIST, OFF_SB_MAGIC, OFF_TASK_FS, Probed,
        address_of, current_address, field, follow, is_on,
    },
    maps::{NFS_NAMES, NFS_SERVERS, NFS_WALK},
    totals, trace,
};

/// `NFS_PROGRAM`, `include/uapi/linux/nfs.h`.
const NFS_PROGRAM: u32 = 100_003;
/// `NFS_ACL_PROGRAM`, `include/linux/nfsacl.h`.
const NFS_ACL_PROGRAM: u32 = 100_227;
/// `NFS_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
const NFS_SUPER_MAGIC: u64 = 0x6969;
/// The largest number of a procedure that is told apart.
const PROCEDURE_MAX: u32 = (1 << NFS_PROCEDURE_BITS) - 1;

/// Superblocks looked at in one run of [`nfs_mounts`]. Up to 6.1 at least, the verifier takes no more than
/// 8192 branches that it has yet to follow (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, `kernel/bpf/verifier.c`).
const STEPS: u32 = 64;
/// Answers of [`nfs_mounts`]: it has seen all of them, or the list led nowhere. Otherwise it is to be
/// run again.
const ALL_SEEN: u32 = 1;
const LOST: u32 = 2;

/// `void rpc_task_end(const struct rpc_task *task, const void *action)`, `include/trace/events/sunrpc.h`,
/// v5.10 to v7.3.
#[raw_tracepoint(tracepoint = "rpc_task_end")]
fn nfs_end(context: RawTracePointContext) -> i32 {
    ended(context.arg(0));
    0
}

/// `void rpc_exit_task(struct rpc_task *task)`, which has that tracepoint.
#[kprobe]
fn nfs_end_kprobe(context: ProbeContext) -> u32 {
    if let Some(task) = context.arg(0) {
        ended(task);
    }
    0
}

/// Counts a call that ended. What was started again is another one, as for the kernel's statistics.
#[inline(always)]
fn ended(task: *const u8) {
    let client = follow::<Probed>(task, &OFF_RPC_CLIENT);
    let procedure = follow::<Probed>(task, &OFF_RPC_PROCEDURE);
    if client.is_null() || procedure.is_null() {
        return;
    }
    let Some(protocol) = protocol_of(client) else {
        return;
    };
    let status = field::<Probed, i32>(task, &OFF_RPC_STATUS);
    // Without a request nothing was sent: a call that turned out not to be needed, unless it failed.
    if status >= 0 && follow::<Probed>(task, &OFF_RPC_REQUEST).is_null() {
        return;
    }
    let number = field::<Probed, u32>(procedure, &OFF_PROCEDURE_NUMBER).min(PROCEDURE_MAX);
    let index = protocol << NFS_PROCEDURE_BITS | number;
    name(index, procedure);
    let dev = superblock_of(client);
    if dev != 0 {
        count_if_current_is_self();
    }
    let key = TotalsKey {
        dev,
        op: Op::wire_of_nfs(index),
        errno: if status < 0 {
            status.wrapping_neg() as u16
        } else {
            0
        },
    };
    let timing = Timing::since(field::<Probed, u64>(task, &OFF_RPC_START));
    if trace::is_traced() {
        traced::leave(task, &key, timing);
    }
    if let Some(slot) = totals::slot_of(&key) {
        // SAFETY: just looked up.
        unsafe { totals::add_latency(slot, timing.now_ns, timing.latency_ns, timing.is_slow) };
    }
}

/// The protocol's place among the names: 2, 3, and 0 for version 4; 1 for the ACLs of 2 and 3.
#[inline(always)]
fn protocol_of(client: *const u8) -> Option<u32> {
    match field::<Probed, u32>(client, &OFF_CLIENT_PROGRAM) {
        NFS_PROGRAM => Some(field::<Probed, u32>(client, &OFF_CLIENT_VERSION) & 3),
        NFS_ACL_PROGRAM => Some(1),
        _ => None,
    }
}

/// Notes what the kernel calls a procedure when it is first met. Its numbers are the kernel's own, and
/// differ from release to release.
#[inline(always)]
fn name(index: u32, procedure: *const u8) {
    let Some(name) = NFS_NAMES.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: a live map value.
    if unsafe { (*name)[0] } != 0 || !is_on(&MAY_READ_KERNEL) {
        return;
    }
    let text = follow::<Probed>(procedure, &OFF_PROCEDURE_NAME);
    // SAFETY: the destination is that long; the helper checks the source and ends it with a NUL.
    let read =
        unsafe { bpf_probe_read_kernel_str(name.cast(), NFS_NAME_BYTES as u32, text.cast()) };
    if read < 0 {
        count(Counter::KernelReadsFailed);
    }
}

/// `s_dev` of the superblock a client belongs to; 0 for one of a server as such, which several
/// superblocks share, and for one that was not found yet.
#[inline(always)]
fn superblock_of(client: *const u8) -> u32 {
    let dev = own_superblock_of(client);
    if dev != 0 {
        return dev;
    }
    own_superblock_of(follow::<Probed>(client, &OFF_CLIENT_PARENT))
}

/// Believed only while the server found with the client still has it.
#[inline(always)]
fn own_superblock_of(client: *const u8) -> u32 {
    let key = client as u64;
    // SAFETY: entries are written whole, and what they say is looked up again below.
    let Some(entry) = (unsafe { NFS_SERVERS.get(key) }) else {
        return 0;
    };
    let server = entry.server as *const u8;
    if follow::<Probed>(server, &OFF_NFS_CLIENT) != client {
        return 0;
    }
    field::<Probed, u32>(follow::<Probed>(server, &OFF_NFS_SUPER), &OFF_SB_DEV)
}

/// Notes the client of every NFS superblock, going around the list of all superblocks (`super_blocks`,
/// `fs/super.c`) from that of the caller's root. Its first argument is nonzero to begin anew, its second
/// the number of the look.
///
/// The list is read without its lock: a look may miss what comes and goes meanwhile, and is given up
/// by the daemon when it finds no end. What it takes for an NFS superblock is one only if its server
/// says so too.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
extern "C" fn nfs_mounts(arguments: *const [u64; 2]) -> u32 {
    // SAFETY: a raw tracepoint program's context is at least that long.
    let [is_new, turn] = unsafe { *arguments };
    let Some(walk) = NFS_WALK.get_ptr_mut(0) else {
        return LOST;
    };
    if is_new != 0 {
        begin(walk);
    }
    for _ in 0..STEPS {
        let answer = step(walk, turn as u32);
        if answer != 0 {
            return answer;
        }
    }
    0
}

#[inline(always)]
fn begin(walk: *mut NfsWalk) {
    let fs = follow::<Probed>(current_address(), &OFF_TASK_FS);
    let root = follow::<Probed>(fs, &OFF_FS_ROOT_DENTRY);
    let superblock = follow::<Probed>(root, &OFF_DENTRY_SB);
    let link = address_of(superblock, &OFF_SB_LIST) as u64;
    // SAFETY: a live map value, and only one look goes on at a time. Volatile: the verifier must not
    // follow the values from step to step.
    unsafe {
        core::ptr::write_volatile(&raw mut (*walk).start, link);
        core::ptr::write_volatile(&raw mut (*walk).at, link);
    }
}

/// Looks at one superblock and goes on to the next; nonzero when that is where the look began, or when
/// the list leads nowhere.
#[inline(always)]
fn step(walk: *mut NfsWalk, turn: u32) -> u32 {
    // SAFETY: see `begin`.
    let (start, at) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*walk).start),
            core::ptr::read_volatile(&raw const (*walk).at),
        )
    };
    let superblock = (at as *const u8).wrapping_sub(OFF_SB_LIST.load() as usize);
    if peek(superblock, &OFF_SB_MAGIC) == NFS_SUPER_MAGIC {
        note(superblock, turn);
    }
    let next = peek(superblock, &OFF_SB_LIST);
    // SAFETY: see `begin`.
    unsafe { core::ptr::write_volatile(&raw mut (*walk).at, next) };
    if next == start {
        ALL_SEEN
    } else if next == 0 {
        LOST
    } else {
        0
    }
}

/// Remembers an NFS superblock's client. One that is being made has no server, or not yet the other way.
#[inline(always)]
fn note(superblock: *const u8, turn: u32) {
    let server = peek(superblock, &OFF_SB_FS_INFO);
    let client = peek(server as *const u8, &OFF_NFS_CLIENT);
    if client == 0 || peek(server as *const u8, &OFF_NFS_SUPER) != superblock as u64 {
        return;
    }
    let found = NfsServer {
        server,
        dev: peek(superblock, &OFF_SB_DEV) as u32,
        turn,
    };
    if NFS_SERVERS.insert(client, &found, 0).is_err() {
        count(Counter::NfsServersFull);
    }
}

/// Reads a field; 0 where nothing readable is, which ends the look and is no loss.
#[inline(always)]
fn peek(base: *const u8, offset: &Global<u32>) -> u64 {
    if !is_on(&MAY_READ_KERNEL) {
        return 0;
    }
    let mut value = 0_u64;
    // SAFETY: the destination is 8 bytes; the helper checks the source, and zeroes the destination when
    // it cannot be read.
    let _ = unsafe {
        bpf_probe_read_kernel((&raw mut value).cast(), 8, address_of(base, offset).cast())
    };
    value
}

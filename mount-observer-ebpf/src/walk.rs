//! The walk over the requests of one FUSE connection, as seen from one `/dev/fuse` descriptor.
//!
//! The lists are walked without their locks: every loop is bounded, and a node counts as a request
//! only when it leads back to the connection it was found on.
//!
//! The walk's state lives in map memory and is read and written volatile: what the verifier cannot
//! know it cannot branch on, so each step is verified once and not once per history.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_probe_read_kernel};
use mount_observer_common::{Counter, QUEUED_MAX, QueuedRow, RowKind};

use crate::{
    counters::count,
    kernel::{
        OFF_CONN_BG_QUEUE, OFF_CONN_PENDING, OFF_FM_FC, OFF_FUD_IO, OFF_FUD_PROCESSING,
        OFF_REQ_CHAN, OFF_REQ_CREATE_TIME, OFF_REQ_FM, OFF_REQ_LIST, OFF_REQ_OPCODE, Probed,
        address_of, exists, follow,
    },
    maps::{SCRATCH, SETTINGS, Scratch},
};

/// `FUSE_PQ_HASH_SIZE` (`fs/fuse/fuse_dev_i.h`): lists in `fuse_pqueue.processing`.
pub const PROCESSING_LISTS: usize = 256;

/// Room for the lists of one walk: those, and three more (not read by the server yet, waiting for a
/// background slot, being read). A power of two, so that a mask bounds an index.
pub const LISTS_MAX: usize = 512;

/// Lists that have changed since they were found worth a visit, and are given up.
const FRUITLESS_MAX: usize = 16;

/// Steps of one walk: a step takes a request, of the next list where the last one has ended.
const STEPS_MAX: usize = QUEUED_MAX + FRUITLESS_MAX;

/// Where a walk stands.
#[repr(C)]
pub struct Walk {
    connection: u64,
    /// Head of the current list; a node equal to it ends the list.
    head: u64,
    node: u64,
    now_jiffies: u64,
    /// The next list to open.
    list: u64,
    lists: u64,
    /// The first of them whose requests the server has.
    first_at_server: u64,
    emitted: u64,
    at_server: u64,
    /// Nanoseconds of a jiffy.
    tick_ns: u64,
    /// All ones where ages are not known.
    no_age: u64,
    /// Nonzero when something could not be read.
    failed: u64,
    dev: u64,
}

/// The start of `struct fuse_in_header` (`include/uapi/linux/fuse.h`, an ABI) from `opcode` on.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Header {
    opcode: u32,
    unique: u64,
    nodeid: u64,
    uid: u32,
    gid: u32,
    pid: u32,
}

macro_rules! get {
    ($walk:expr, $field:ident) => {
        // SAFETY: a live map value.
        unsafe { core::ptr::read_volatile(&raw const (*$walk).$field) }
    };
}

macro_rules! set {
    ($walk:expr, $field:ident, $value:expr) => {
        // SAFETY: a live map value.
        unsafe { core::ptr::write_volatile(&raw mut (*$walk).$field, $value) }
    };
}

/// Collects up to [`QUEUED_MAX`] requests into the scratch buffer; returns how many.
#[inline(always)]
pub fn collect(connection: *const u8, device: *const u8, dev: u32) -> u32 {
    let (Some(scratch), Some(settings)) = (SCRATCH.get_ptr_mut(0), SETTINGS.get(0)) else {
        return 0;
    };
    // SAFETY: a live map value, and only one scan runs at a time.
    let walk = unsafe { &raw mut (*scratch).walk };
    set!(walk, connection, connection as u64);
    set!(walk, dev, u64::from(dev));
    set!(walk, head, 0);
    set!(walk, node, 0);
    set!(walk, list, 0);
    set!(walk, emitted, 0);
    set!(walk, failed, 0);
    // SAFETY: the helper has no requirement.
    let now_jiffies = unsafe { bpf_jiffies64() };
    set!(walk, now_jiffies, now_jiffies);
    let tick_ns = u64::from(settings.tick_ns);
    set!(walk, tick_ns, tick_ns);
    set!(walk, no_age, differs(tick_ns, 0).wrapping_sub(1));
    find_lists(scratch, connection, device);
    let mut goes_on = open_next(scratch);
    for _ in 0..STEPS_MAX {
        if !goes_on {
            break;
        }
        goes_on = step(scratch);
    }
    if get!(walk, failed) != 0 {
        count(Counter::KernelReadsFailed);
    }
    get!(walk, emitted) as u32
}

/// Notes the heads of the lists that are not empty. The processing lists are copied at once: opening
/// each of the 256 would cost 9 us.
#[inline(always)]
fn find_lists(scratch: *mut Scratch, connection: *const u8, device: *const u8) {
    // SAFETY: live map memory, as in every access below.
    let walk = unsafe { &raw mut (*scratch).walk };
    set!(walk, lists, 0);
    visit(scratch, address_of(connection, &OFF_CONN_PENDING) as u64);
    if exists(&OFF_CONN_BG_QUEUE) {
        visit(scratch, address_of(connection, &OFF_CONN_BG_QUEUE) as u64);
    }
    // The server has the requests on what follows.
    let at_server = get!(walk, lists);
    set!(walk, first_at_server, at_server);
    visit(scratch, address_of(device, &OFF_FUD_IO) as u64);
    let processing = follow::<Probed>(device, &OFF_FUD_PROCESSING) as u64;
    // SAFETY: as above.
    let heads = unsafe { &raw mut (*scratch).heads }.cast::<[u64; 2]>();
    let bytes = (PROCESSING_LISTS * size_of::<[u64; 2]>()) as u32;
    // SAFETY: the destination is that long; the helper zeroes it when the source is unreadable.
    let failed = unsafe { bpf_probe_read_kernel(heads.cast(), bytes, processing as *const _) };
    if failed != 0 {
        set!(walk, failed, 1);
        return;
    }
    for index in 0..PROCESSING_LISTS {
        // SAFETY: below the length; indexing would leave a panic path.
        let [first, _] = unsafe { core::ptr::read_volatile(heads.add(index)) };
        let head = processing.wrapping_add((index * size_of::<[u64; 2]>()) as u64);
        note(scratch, head, first);
    }
}

/// Notes a list unless it is empty.
#[inline(always)]
fn visit(scratch: *mut Scratch, head: u64) {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let first = read::<u64>(walk, head as *const u8);
    note(scratch, head, first);
}

/// Writes a list's head to the next place, which is kept unless the list is empty: then its first
/// node is its head.
#[inline(always)]
fn note(scratch: *mut Scratch, head: u64, first: u64) {
    // SAFETY: live map memory, as below.
    let walk = unsafe { &raw mut (*scratch).walk };
    let place = get!(walk, lists);
    // SAFETY: as above.
    let lists = unsafe { &raw mut (*scratch).lists }.cast::<u64>();
    // SAFETY: masked below the length; indexing would leave a panic path.
    unsafe { *lists.add(place as usize & (LISTS_MAX - 1)) = head };
    set!(walk, lists, place + differs(first, head));
}

/// 1 where two values differ, else 0. Without a branch: the steps of a loop are verified one after the
/// other, and what follows a branch twice. Opaque, or it is made a branch again.
#[inline(always)]
fn differs(one: u64, other: u64) -> u64 {
    let difference = one ^ other;
    core::hint::black_box((difference | difference.wrapping_neg()) >> 63)
}

/// Takes one request and goes to the next, or to the next list; false when all is done.
#[inline(always)]
fn step(scratch: *mut Scratch) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let node = get!(walk, node);
    let request = (node as *const u8).wrapping_sub(OFF_REQ_LIST.load() as usize);
    // Otherwise the list changed under us: give it up.
    let is_ours = 1 ^ differs(owner(walk, request), get!(walk, connection));
    if !write_row(scratch, request, is_ours) {
        return false;
    }
    let next = read::<u64>(walk, node as *const u8);
    let goes_on = is_ours & differs(next, get!(walk, head));
    set!(walk, node, next & goes_on.wrapping_neg());
    // Last, because what follows a branch is verified twice.
    get!(walk, node) != 0 || open_next(scratch)
}

/// Opens the next list, which is not empty unless it has changed; false when there is none.
#[inline(always)]
fn open_next(scratch: *mut Scratch) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let list = get!(walk, list);
    if list >= get!(walk, lists) {
        return false;
    }
    // SAFETY: masked below the length.
    let head = unsafe {
        *(&raw const (*scratch).lists)
            .cast::<u64>()
            .add(list as usize & (LISTS_MAX - 1))
    };
    set!(walk, list, list + 1);
    set!(walk, head, head);
    // Below the first of them the difference is negative.
    let distance = core::hint::black_box(list.wrapping_sub(get!(walk, first_at_server)));
    set!(walk, at_server, !distance >> 63);
    set!(walk, node, read::<u64>(walk, head as *const u8));
    true
}

/// The connection a request leads to.
#[inline(always)]
fn owner(walk: *mut Walk, request: *const u8) -> u64 {
    if exists(&OFF_REQ_FM) {
        let mount = read::<*const u8>(walk, address_of(request, &OFF_REQ_FM));
        read::<u64>(walk, address_of(mount, &OFF_FM_FC))
    } else {
        read::<u64>(walk, address_of(request, &OFF_REQ_CHAN))
    }
}

/// Writes a request's row, to be overwritten by the next one if `is_ours` is 0; false when there is no
/// room for another.
#[inline(always)]
fn write_row(scratch: *mut Scratch, request: *const u8, is_ours: u64) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let index = get!(walk, emitted);
    if index >= QUEUED_MAX as u64 {
        return false;
    }
    let header = read::<Header>(walk, address_of(request, &OFF_REQ_OPCODE));
    let age_ns = age_ns(walk, request);
    let dev = get!(walk, dev) as u32;
    let at_server = get!(walk, at_server);
    // SAFETY: the index was just checked; indexing would leave a panic path.
    unsafe {
        let row = (&raw mut (*scratch).queued)
            .cast::<QueuedRow>()
            .add(index as usize);
        (*row).kind = RowKind::Queued as u32;
        (*row).size = size_of::<QueuedRow>() as u32;
        (*row).request_ptr = request as u64;
        (*row).unique = header.unique;
        (*row).nodeid = header.nodeid;
        (*row).age_ns = age_ns;
        (*row).dev = dev;
        (*row).opcode = header.opcode;
        (*row).pid = header.pid;
        (*row).at_server = at_server as u32;
    }
    set!(walk, emitted, index + is_ours);
    true
}

/// Age of a request by its creation time, which the kernel keeps in jiffies since 6.15.
#[inline(always)]
fn age_ns(walk: *mut Walk, request: *const u8) -> u64 {
    if !exists(&OFF_REQ_CREATE_TIME) {
        return u64::MAX;
    }
    let created = read::<u64>(walk, address_of(request, &OFF_REQ_CREATE_TIME));
    // A request made since is new: a negative age becomes 0.
    let jiffies = get!(walk, now_jiffies).wrapping_sub(created);
    let is_past = 1 ^ core::hint::black_box(jiffies >> 63);
    let jiffies = jiffies & is_past.wrapping_neg();
    jiffies.wrapping_mul(get!(walk, tick_ns)) | get!(walk, no_age)
}

/// Reads without a branch: a failure is noted and the value is zero.
#[inline(always)]
fn read<T: Copy>(walk: *mut Walk, at: *const u8) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination is that long; the helper zeroes it when the source is unreadable.
    let failed = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, at.cast())
    };
    let failures = get!(walk, failed) | failed as u64;
    set!(walk, failed, failures);
    // SAFETY: written in either case; only integers and pointers are read.
    unsafe { value.assume_init() }
}

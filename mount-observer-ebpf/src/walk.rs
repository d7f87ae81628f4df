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

/// Lists before those: not read by the server yet, waiting for a background slot, being read.
const OTHER_LISTS: usize = 3;

/// The first list whose requests the server has.
const FIRST_AT_SERVER: u64 = 2;

/// Lists of one walk.
pub const LISTS_MAX: usize = OTHER_LISTS + PROCESSING_LISTS;

/// Steps of one walk: a step opens a list or takes a request.
const STEPS_MAX: usize = LISTS_MAX + QUEUED_MAX;

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
    emitted: u64,
    at_server: u64,
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
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
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
    find_lists(scratch, connection, device);
    for _ in 0..STEPS_MAX {
        if !step(scratch) {
            break;
        }
    }
    if get!(walk, failed) != 0 {
        count(Counter::KernelReadsFailed);
    }
    get!(walk, emitted) as u32
}

/// Notes the list heads worth a visit. The processing lists are copied at once and the empty ones
/// left out here: opening each of the 256 would cost 9 us.
#[inline(always)]
fn find_lists(scratch: *mut Scratch, connection: *const u8, device: *const u8) {
    // SAFETY: live map memory, as in every access below.
    let walk = unsafe { &raw mut (*scratch).walk };
    // SAFETY: as above.
    let lists = unsafe { &raw mut (*scratch).lists }.cast::<u64>();
    let background = if exists(&OFF_CONN_BG_QUEUE) {
        address_of(connection, &OFF_CONN_BG_QUEUE) as u64
    } else {
        0
    };
    // SAFETY: LISTS_MAX is more than three.
    unsafe {
        *lists = address_of(connection, &OFF_CONN_PENDING) as u64;
        *lists.add(1) = background;
        *lists.add(2) = address_of(device, &OFF_FUD_IO) as u64;
    }
    set!(walk, lists, OTHER_LISTS as u64);
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
        let place = get!(walk, lists);
        if first != head && place < LISTS_MAX as u64 {
            // SAFETY: just checked.
            unsafe { *lists.add(place as usize) = head };
            set!(walk, lists, place + 1);
        }
    }
}

/// Opens the next list, or takes one request of the current one; false when all is done.
#[inline(always)]
fn step(scratch: *mut Scratch) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let node = get!(walk, node);
    if node == 0 || node == get!(walk, head) {
        return open_next(scratch);
    }
    let request = (node as *const u8).wrapping_sub(OFF_REQ_LIST.load() as usize);
    if owner(walk, request) != get!(walk, connection) {
        // The list changed under us: give it up.
        set!(walk, node, 0);
        return true;
    }
    set!(walk, node, read::<u64>(walk, node as *const u8));
    take(scratch, request)
}

#[inline(always)]
fn open_next(scratch: *mut Scratch) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let list = get!(walk, list);
    if list >= get!(walk, lists) || list >= LISTS_MAX as u64 {
        return false;
    }
    // SAFETY: just checked.
    let head = unsafe {
        *(&raw const (*scratch).lists)
            .cast::<u64>()
            .add(list as usize)
    };
    set!(walk, list, list + 1);
    set!(walk, at_server, u64::from(list >= FIRST_AT_SERVER));
    set!(walk, head, head);
    set!(
        walk,
        node,
        if head == 0 {
            0
        } else {
            read::<u64>(walk, head as *const u8)
        }
    );
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

/// Writes a request's row; false when there is no room for another.
#[inline(always)]
fn take(scratch: *mut Scratch, request: *const u8) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let index = get!(walk, emitted);
    if index >= QUEUED_MAX as u64 {
        return false;
    }
    let header = read::<Header>(walk, address_of(request, &OFF_REQ_OPCODE));
    let age_ns = age_ns(walk, request);
    let dev = get!(walk, dev) as u32;
    let at_server = get!(walk, at_server) as u32;
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
        (*row).at_server = at_server;
    }
    set!(walk, emitted, index + 1);
    true
}

/// Age of a request by its creation time, which the kernel keeps in jiffies since 6.15.
#[inline(always)]
fn age_ns(walk: *mut Walk, request: *const u8) -> u64 {
    let tick_ns = SETTINGS
        .get(0)
        .map_or(0, |settings| u64::from(settings.tick_ns));
    if !exists(&OFF_REQ_CREATE_TIME) || tick_ns == 0 {
        return u64::MAX;
    }
    let created = read::<u64>(walk, address_of(request, &OFF_REQ_CREATE_TIME));
    get!(walk, now_jiffies)
        .saturating_sub(created)
        .wrapping_mul(tick_ns)
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

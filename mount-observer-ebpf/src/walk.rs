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
    branchless::{differs, select},
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

/// Room for the rows of one walk: a power of two for the same reason.
pub const ROWS_ROOM: usize = 256;
const _: () = assert!(QUEUED_MAX <= ROWS_ROOM);

/// Lists that have changed since they were found worth a visit, and are given up.
const FRUITLESS_MAX: usize = 8;

/// Steps of one walk: a step takes a request, of the next list where the last one has ended.
const STEPS_MAX: usize = QUEUED_MAX + FRUITLESS_MAX;

/// Where a walk stands.
#[repr(C)]
pub struct Walk {
    connection: u64,
    device: u64,
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
    /// Nanoseconds of a jiffy.
    tick_ns: u64,
    /// All ones where ages are not known.
    no_age: u64,
    /// Nonzero when something could not be read.
    failed: u64,
    dev: u64,
}

/// The start of `struct fuse_in_header` (`include/uapi/linux/fuse.h`, an ABI) from `opcode` on, where
/// 64-bit fields are aligned to 32 bits only: as they are, they would be put together byte by byte.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    opcode: u32,
    unique: [u32; 2],
    nodeid: [u32; 2],
    uid: u32,
    gid: u32,
    pid: u32,
}

/// A 64-bit field of it.
#[inline(always)]
fn joined([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
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
    // By way of the map it becomes a plain number: 7.2 types an untyped pointer, and its arithmetic.
    set!(walk, device, device as u64);
    let device = get!(walk, device) as *const u8;
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

/// Notes the heads of the lists that are not empty. The processing lists are copied at once: opening
/// each of the 256 would cost 9 us.
#[inline(always)]
fn find_lists(scratch: *mut Scratch, connection: *const u8, device: *const u8) {
    // SAFETY: live map memory, as in every access below.
    let walk = unsafe { &raw mut (*scratch).walk };
    let mut failures = 0;
    let mut place = visit(
        scratch,
        0,
        address_of(connection, &OFF_CONN_PENDING),
        &mut failures,
    );
    if exists(&OFF_CONN_BG_QUEUE) {
        let head = address_of(connection, &OFF_CONN_BG_QUEUE);
        place = visit(scratch, place, head, &mut failures);
    }
    // The server has the requests on what follows.
    set!(walk, first_at_server, place);
    place = visit(
        scratch,
        place,
        address_of(device, &OFF_FUD_IO),
        &mut failures,
    );
    let processing = follow::<Probed>(device, &OFF_FUD_PROCESSING) as u64;
    // SAFETY: as above.
    let heads = unsafe { &raw mut (*scratch).heads }.cast::<[u64; 2]>();
    let bytes = (PROCESSING_LISTS * size_of::<[u64; 2]>()) as u32;
    // SAFETY: the destination is that long; the helper zeroes it when the source is unreadable: then
    // every list seems worth a visit, and is given up.
    let failed = unsafe { bpf_probe_read_kernel(heads.cast(), bytes, processing as *const _) };
    set!(walk, failed, failures | failed as u64);
    for index in 0..PROCESSING_LISTS {
        // SAFETY: below the length; indexing would leave a panic path.
        let [first, _] = unsafe { core::ptr::read_volatile(heads.add(index)) };
        let head = processing.wrapping_add((index * size_of::<[u64; 2]>()) as u64);
        place = note(scratch, place, head, first);
    }
    set!(walk, lists, place);
}

/// Notes a list unless it is empty; returns the next place.
#[inline(always)]
fn visit(scratch: *mut Scratch, place: u64, head: *const u8, failures: &mut u64) -> u64 {
    let first = read::<u64>(failures, head);
    note(scratch, place, head as u64, first)
}

/// Writes a list's head to a place and returns the next place, which is the same for an empty list:
/// its first node is its head.
#[inline(always)]
fn note(scratch: *mut Scratch, place: u64, head: u64, first: u64) -> u64 {
    // SAFETY: live map memory.
    let lists = unsafe { &raw mut (*scratch).lists }.cast::<u64>();
    // SAFETY: masked below the length; indexing would leave a panic path.
    unsafe { *lists.add(place as usize & (LISTS_MAX - 1)) = head };
    place + differs(first, head)
}

/// Takes one request of the current list, or the first of the next one; false when all is done. Its
/// only branches end the walk.
#[inline(always)]
fn step(scratch: *mut Scratch) -> bool {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let index = get!(walk, emitted);
    let node = get!(walk, node);
    let list = get!(walk, list);
    let opens = 1 ^ differs(node, 0);
    if opens > get!(walk, lists).wrapping_sub(list) || index >= QUEUED_MAX as u64 {
        return false;
    }
    let mut failures = get!(walk, failed);
    // SAFETY: masked below the length.
    let next_head = unsafe {
        *(&raw const (*scratch).lists)
            .cast::<u64>()
            .add(list as usize & (LISTS_MAX - 1))
    };
    let head = select(opens, next_head, get!(walk, head));
    let first = read::<u64>(&mut failures, head as *const u8);
    let node = select(opens, first, node);
    let list = list + opens;
    // The current list is the one before; below the first of the server's the difference is negative.
    let distance = list.wrapping_sub(get!(walk, first_at_server) + 1);
    let request = Request {
        address: (node as *const u8).wrapping_sub(OFF_REQ_LIST.load() as usize),
        at_server: !distance >> 63,
    };
    // Otherwise the list changed under us: give it up, and the row to the next request.
    let is_ours = 1 ^ differs(
        owner(&mut failures, request.address),
        get!(walk, connection),
    );
    write_row(scratch, index, &request, &mut failures);
    let next = read::<u64>(&mut failures, node as *const u8);
    let goes_on = is_ours & differs(next, head);
    set!(walk, node, next & goes_on.wrapping_neg());
    set!(walk, head, head);
    set!(walk, list, list);
    set!(walk, emitted, index + is_ours);
    set!(walk, failed, failures);
    true
}

/// A request as the walk finds it.
struct Request {
    address: *const u8,
    /// 1 when the server has it.
    at_server: u64,
}

/// The connection a request leads to.
#[inline(always)]
fn owner(failures: &mut u64, request: *const u8) -> u64 {
    if exists(&OFF_REQ_FM) {
        let mount = read::<*const u8>(failures, address_of(request, &OFF_REQ_FM));
        read::<u64>(failures, address_of(mount, &OFF_FM_FC))
    } else {
        read::<u64>(failures, address_of(request, &OFF_REQ_CHAN))
    }
}

/// Writes a request's row.
#[inline(always)]
fn write_row(scratch: *mut Scratch, index: u64, request: &Request, failures: &mut u64) {
    // SAFETY: a live map value.
    let walk = unsafe { &raw mut (*scratch).walk };
    let header = read::<Header>(failures, address_of(request.address, &OFF_REQ_OPCODE));
    let age_ns = age_ns(walk, request.address, failures);
    let dev = get!(walk, dev) as u32;
    // Opaque, because 5.10 forgets the bound of a value that it had to put on the stack.
    let place = core::hint::black_box(index) as usize & (ROWS_ROOM - 1);
    // SAFETY: masked below the length; indexing would leave a panic path.
    unsafe {
        let row = (&raw mut (*scratch).queued).cast::<QueuedRow>().add(place);
        (*row).kind = RowKind::Queued as u32;
        (*row).size = size_of::<QueuedRow>() as u32;
        (*row).request_ptr = request.address as u64;
        (*row).unique = joined(header.unique);
        (*row).nodeid = joined(header.nodeid);
        (*row).age_ns = age_ns;
        (*row).dev = dev;
        (*row).opcode = header.opcode;
        (*row).pid = header.pid;
        (*row).at_server = request.at_server as u32;
    }
}

/// Age of a request by its creation time, which the kernel keeps in jiffies since 6.15.
#[inline(always)]
fn age_ns(walk: *mut Walk, request: *const u8, failures: &mut u64) -> u64 {
    if !exists(&OFF_REQ_CREATE_TIME) {
        return u64::MAX;
    }
    let created = read::<u64>(failures, address_of(request, &OFF_REQ_CREATE_TIME));
    // A request made since is new: a negative age becomes 0.
    let jiffies = get!(walk, now_jiffies).wrapping_sub(created);
    let is_past = 1 ^ core::hint::black_box(jiffies >> 63);
    let jiffies = jiffies & is_past.wrapping_neg();
    jiffies.wrapping_mul(get!(walk, tick_ns)) | get!(walk, no_age)
}

/// Reads without a branch: a failure is noted and the value is zero.
#[inline(always)]
fn read<T: Copy>(failures: &mut u64, at: *const u8) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination is that long; the helper zeroes it when the source is unreadable.
    let failed = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, at.cast())
    };
    *failures |= failed as u64;
    // SAFETY: written in either case; only integers and pointers are read.
    unsafe { value.assume_init() }
}

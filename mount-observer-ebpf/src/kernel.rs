//! Kernel structs: their offsets, how to read them, and the few pointer chains all programs share.

mod current;

use core::mem::MaybeUninit;

use aya_ebpf::{Global, bindings::task_struct, helpers::generated::bpf_probe_read_kernel};
use mount_observer_common::{ABSENT, COMM_BYTES, Counter};

use crate::counters::count;
pub(crate) use current::{
    UserCall, current_address, current_typed, current_user_call, is_compat, user_call, with_current,
};

macro_rules! offsets {
    ($($name:ident)*) => {
        $(
            /// Injected: see `mount_observer_common::OFFSETS`.
            #[unsafe(no_mangle)]
            pub static $name: Global<u32> = Global::new(ABSENT);
        )*
    };
}

offsets! {
    OFF_REQ_LIST OFF_REQ_ARGS OFF_REQ_OPCODE OFF_REQ_UNIQUE OFF_REQ_NODEID OFF_REQ_PID OFF_REQ_ERROR
    OFF_REQ_CREATE_TIME OFF_REQ_FM OFF_REQ_CHAN OFF_ARGS_OPCODE OFF_ARGS_NODEID OFF_ARGS_IN
    OFF_FM_SB OFF_FM_FC OFF_SB_DEV
    OFF_FUD_CONN OFF_FUD_PROCESSING OFF_FUD_IO OFF_CHAN_CONN OFF_FC_DEV
    OFF_CONN_CONNECTED OFF_CONN_WAITING OFF_CONN_PENDING OFF_CONN_BG_QUEUE
    OFF_TASK_STATE OFF_TASK_PID OFF_TASK_TGID OFF_TASK_COMM OFF_TASK_EXIT_CODE OFF_TASK_SIGNAL
    OFF_TASK_NAMEIDATA OFF_TASK_STACK OFF_TASK_FS OFF_TASK_FILES OFF_TASK_NSPROXY OFF_SIGNAL_LIVE
    OFF_SIGNAL_OOM_MM
    OFF_TASK_NVCSW OFF_TASK_NIVCSW
    OFF_ND_DENTRY OFF_DENTRY_SB OFF_DENTRY_PARENT OFF_DENTRY_NAME OFF_INODE_SB OFF_INODE_RDEV
    OFF_INODE_NUMBER OFF_INODE_SIZE OFF_FUSE_INODE_NODEID OFF_FILE_INODE OFF_FILE_PRIVATE OFF_FILE_MODE
    OFF_FILE_POSITION OFF_FILE_PATH OFF_FILE_DENTRY
    OFF_FILES_FDT OFF_FDT_MAX_FDS OFF_FDT_FD
    OFF_FS_ROOT_MNT OFF_FS_ROOT_DENTRY OFF_FS_PWD_DENTRY OFF_MNT_ROOT OFF_MNT_SB
    OFF_PATH_MNT OFF_FILENAME_NAME
    OFF_NSPROXY_MNT_NS OFF_MNT_NS_INUM
    OFF_SB_LIST OFF_SB_MAGIC OFF_SB_FS_INFO OFF_NFS_CLIENT OFF_NFS_SUPER
    OFF_RPC_STATUS OFF_RPC_CLIENT OFF_RPC_PROCEDURE OFF_RPC_REQUEST OFF_RPC_START OFF_RPC_OWNER
    OFF_CLIENT_PROGRAM OFF_CLIENT_VERSION OFF_CLIENT_PARENT OFF_PROCEDURE_NUMBER OFF_PROCEDURE_NAME
    OFF_REGS_NR OFF_REGS_CS OFF_REGS_ARG0 OFF_REGS_ARG1 OFF_REGS_ARG2 OFF_REGS_ARG3 OFF_REGS_ARG4
}

macro_rules! switches {
    ($($name:ident)*) => {
        $(
            /// Injected: see `mount_observer_common::HELPER_SWITCHES`.
            #[unsafe(no_mangle)]
            pub static $name: Global<u32> = Global::new(1);
        )*
    };
}

switches! { HAS_CURRENT_TASK_BTF HAS_TASK_PT_REGS MAY_READ_KERNEL }

/// Whether a helper may be called. The verifier removes the branch that is not taken.
#[inline(always)]
pub fn is_on(switch: &Global<u32>) -> bool {
    switch.load() != 0
}

/// Whether this kernel has the field. The verifier removes the branch that is not taken.
#[inline(always)]
pub fn exists(offset: &Global<u32>) -> bool {
    offset.load() != ABSENT
}

/// A way to read kernel memory.
pub trait Reader {
    /// Reads a `T` at an address; zeroes where nothing readable is.
    ///
    /// # Safety
    /// `T` must be valid for any bytes.
    unsafe fn read<T: Copy>(at: *const u8) -> T;
}

/// Loads that the verifier checks against the kernel's BTF: for pointers it knows the type of. A
/// bad pointer reads as 0 (the JIT's exception table; `PROBE_MEM` in `arch/x86/net/bpf_jit_comp.c`).
pub struct Typed;

/// `bpf_probe_read_kernel`, about 35 ns each: for pointers the verifier knows nothing about.
pub struct Probed;

impl Reader for Typed {
    #[inline(always)]
    unsafe fn read<T: Copy>(at: *const u8) -> T {
        // SAFETY: the verifier refuses the program unless the load is within a known struct.
        unsafe { core::ptr::read_volatile(at.cast::<T>()) }
    }
}

impl Reader for Probed {
    #[inline(always)]
    unsafe fn read<T: Copy>(at: *const u8) -> T {
        if !is_on(&MAY_READ_KERNEL) {
            // SAFETY: as required of the caller.
            return unsafe { MaybeUninit::zeroed().assume_init() };
        }
        let mut value = MaybeUninit::<T>::uninit();
        let size = size_of::<T>() as u32;
        // SAFETY: the destination is `size` bytes; the helper checks the source, and zeroes the
        // destination when it cannot be read.
        let failed = unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size, at.cast()) };
        if failed != 0 {
            count(Counter::KernelReadsFailed);
        }
        // SAFETY: the helper wrote all of it in either case.
        unsafe { value.assume_init() }
    }
}

/// Address of a field.
#[inline(always)]
pub fn address_of(base: *const u8, offset: &Global<u32>) -> *const u8 {
    base.wrapping_add(offset.load() as usize)
}

/// Reads a field of a struct.
#[inline(always)]
pub fn field<R: Reader, T: Copy>(base: *const u8, offset: &Global<u32>) -> T {
    // SAFETY: used with integers and raw pointers only, which are valid for any bytes.
    unsafe { R::read(address_of(base, offset)) }
}

/// Follows a pointer field.
#[inline(always)]
pub fn follow<R: Reader>(base: *const u8, offset: &Global<u32>) -> *const u8 {
    field::<R, *const u8>(base, offset)
}

/// `s_dev` of a FUSE request's superblock; 0 for CUSE, which has none.
///
/// Since 7.2 the superblock is out of reach of a request: then the connection's root superblock.
#[inline(always)]
pub fn request_dev<R: Reader>(request: *const u8) -> u32 {
    if exists(&OFF_REQ_FM) {
        let mount = follow::<R>(request, &OFF_REQ_FM);
        let superblock = follow::<R>(mount, &OFF_FM_SB);
        field::<R, u32>(superblock, &OFF_SB_DEV)
    } else {
        connection_dev::<R>(follow::<R>(request, &OFF_REQ_CHAN))
    }
}

/// `fuse_conn.dev` of a connection: a `fuse_conn`, or since 7.2 a `fuse_chan`.
#[inline(always)]
pub fn connection_dev<R: Reader>(connection: *const u8) -> u32 {
    if exists(&OFF_CHAN_CONN) {
        field::<R, u32>(follow::<R>(connection, &OFF_CHAN_CONN), &OFF_FC_DEV)
    } else {
        field::<R, u32>(connection, &OFF_FC_DEV)
    }
}

/// Inode number of a task's mount namespace; 0 for an exiting task.
#[inline(always)]
pub fn mount_namespace<R: Reader>(task: *const u8) -> u32 {
    let proxy = follow::<R>(task, &OFF_TASK_NSPROXY);
    if proxy.is_null() {
        return 0;
    }
    let namespace = follow::<R>(proxy, &OFF_NSPROXY_MNT_NS);
    field::<R, u32>(namespace, &OFF_MNT_NS_INUM)
}

/// `FUSE_DEV_SYNC_INIT` (7.0) and `FUSE_DEV_CHAN_DISCONNECTED` (7.2) mark the pointer's low bits.
const POINTER_MARKS: usize = 3;

/// The connection behind a `struct fuse_dev`, as a file's `private_data` leads to it; null when it
/// was opened and not mounted yet, or may not be read.
#[inline(always)]
pub fn fuse_device_connection(device: *const u8) -> *const u8 {
    let device = unmark(device);
    if device.is_null() {
        return device;
    }
    unmark(follow::<Probed>(device, &OFF_FUD_CONN))
}

/// A pointer without the marks in its low bits.
#[inline(always)]
pub fn unmark(pointer: *const u8) -> *const u8 {
    (pointer as usize & !POINTER_MARKS) as *const u8
}

/// Copies a task's name, byte for byte where kernel memory may not be read otherwise.
#[inline(always)]
pub fn read_comm(task: *const u8, comm: &mut [u8; COMM_BYTES]) {
    let at = address_of(task, &OFF_TASK_COMM);
    if !is_on(&MAY_READ_KERNEL) {
        let mut index = 0;
        while index < COMM_BYTES {
            // SAFETY: both are COMM_BYTES long.
            unsafe { *comm.as_mut_ptr().add(index) = Typed::read(at.wrapping_add(index)) };
            index += 1;
        }
        return;
    }
    // SAFETY: the destination is COMM_BYTES long; the helper checks the source.
    let failed =
        unsafe { bpf_probe_read_kernel(comm.as_mut_ptr().cast(), COMM_BYTES as u32, at.cast()) };
    if failed != 0 {
        count(Counter::KernelReadsFailed);
    }
}

/// The pointer type that helpers want for a task.
#[inline(always)]
pub fn as_task(task: *const u8) -> *mut task_struct {
    task.cast_mut().cast()
}

/// `s_dev` of the filesystem of one of a task's open files; 0 when it is not open.
#[inline(always)]
pub fn file_dev<R: Reader>(task: *const u8, descriptor: u64) -> u32 {
    let files = follow::<R>(task, &OFF_TASK_FILES);
    if files.is_null() {
        return 0;
    }
    let table = follow::<R>(files, &OFF_FILES_FDT);
    if descriptor >= u64::from(field::<R, u32>(table, &OFF_FDT_MAX_FDS)) {
        return 0;
    }
    let array = follow::<R>(table, &OFF_FDT_FD);
    // SAFETY: a pointer is valid for any bytes.
    let file: *const u8 = unsafe { Probed::read(array.wrapping_add(descriptor as usize * 8)) };
    if file.is_null() {
        return 0;
    }
    let inode = follow::<Probed>(file, &OFF_FILE_INODE);
    let superblock = follow::<Probed>(inode, &OFF_INODE_SB);
    field::<Probed, u32>(superblock, &OFF_SB_DEV)
}

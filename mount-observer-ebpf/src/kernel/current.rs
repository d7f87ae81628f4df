//! The current task, and what a task asked the kernel for, on kernels with and without the helpers
//! that hand out typed pointers.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs,
};

use super::{
    HAS_CURRENT_TASK_BTF, HAS_TASK_PT_REGS, OFF_REGS_ARG0, OFF_REGS_ARG1, OFF_REGS_CS, OFF_REGS_NR,
    OFF_TASK_STACK, Probed, Reader, Typed, as_task, exists, field, follow, is_on,
};
use crate::maps::SETTINGS;

/// `__USER32_CS`, `arch/x86/include/asm/segment.h`: the caller uses the 32-bit call numbers.
const USER32_CS: u64 = 0x23;

/// Evaluates an expression over the current task with the reader that suits it: `|task: R| ...`.
/// Without `bpf_get_current_task_btf` (5.11) the task is an address to be probed.
macro_rules! with_current {
    (|$task:ident: $reader:ident| $value:expr) => {
        if $crate::kernel::is_on(&$crate::kernel::HAS_CURRENT_TASK_BTF) {
            type $reader = $crate::kernel::Typed;
            let $task = $crate::kernel::current_typed();
            $value
        } else {
            type $reader = $crate::kernel::Probed;
            let $task = $crate::kernel::current_address();
            $value
        }
    };
}
pub(crate) use with_current;

/// The current task, of known type.
#[inline(always)]
pub fn current_typed() -> *const u8 {
    // SAFETY: the helper has no requirement.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// The current task's address.
#[inline(always)]
pub fn current_address() -> *const u8 {
    // SAFETY: the helper has no requirement.
    unsafe { bpf_get_current_task() as *const u8 }
}

/// What a task asked the kernel for, as its user registers tell.
#[derive(Clone, Copy)]
pub struct UserCall {
    /// System call number.
    pub number: u64,
    /// Whether the number and the arguments are those of a 32-bit caller.
    pub is_compat: bool,
    /// The first two arguments.
    pub arguments: [u64; 2],
}

impl UserCall {
    #[inline(always)]
    fn read<R: Reader>(registers: *const u8) -> Self {
        Self {
            number: field::<R, u64>(registers, &OFF_REGS_NR),
            is_compat: is_compat::<R>(registers),
            arguments: [
                field::<R, u64>(registers, &OFF_REGS_ARG0),
                field::<R, u64>(registers, &OFF_REGS_ARG1),
            ],
        }
    }
}

/// Whether a 32-bit caller's registers.
#[inline(always)]
pub fn is_compat<R: Reader>(registers: *const u8) -> bool {
    exists(&OFF_REGS_CS) && field::<R, u64>(registers, &OFF_REGS_CS) & 0xffff == USER32_CS
}

/// What a task of known type asked for; `None` where its registers cannot be found.
#[inline(always)]
pub fn user_call(task: *const u8) -> Option<UserCall> {
    if !exists(&OFF_REGS_NR) {
        return None;
    }
    if !is_on(&HAS_TASK_PT_REGS) {
        return from_stack::<Typed>(task);
    }
    // SAFETY: the task is alive while the program runs.
    let registers = unsafe { bpf_task_pt_regs(as_task(task)) } as *const u8;
    Some(UserCall::read::<Typed>(registers))
}

/// What the current task asked for.
#[inline(always)]
pub fn current_user_call() -> Option<UserCall> {
    if is_on(&HAS_CURRENT_TASK_BTF) {
        user_call(current_typed())
    } else if exists(&OFF_REGS_NR) {
        from_stack::<Probed>(current_address())
    } else {
        None
    }
}

/// The registers lie at the upper end of the task's stack (`task_pt_regs`,
/// `arch/x86/include/asm/processor.h`); the daemon has found out how far up.
#[inline(always)]
fn from_stack<R: Reader>(task: *const u8) -> Option<UserCall> {
    let offset = SETTINGS.get(0)?.registers_offset;
    if offset == 0 || !exists(&OFF_TASK_STACK) {
        return None;
    }
    let stack = follow::<R>(task, &OFF_TASK_STACK);
    if stack.is_null() {
        return None;
    }
    Some(UserCall::read::<Probed>(
        stack.wrapping_add(offset as usize),
    ))
}

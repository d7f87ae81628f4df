//! What a sleeping task is in the middle of, as far as the probes have seen it begin.

use mount_observer_common::{
    CALL_FSTAT, CALL_STATX, CALLS_MAX, CallStage, FuseCall, NO_ARGUMENT, SYSCALL_OPS_MAX,
};

use crate::{
    calls,
    kernel::user_call,
    maps::{FUSE_CALLS, SYSCALL_OPS},
};

/// `io_uring_enter`, `include/uapi/asm-generic/unistd.h`: what the workers of io_uring seem to be in.
const IO_URING_ENTER: u64 = 426;

/// The open call of a task, and the FUSE request it asks for.
pub struct OpenCall {
    /// When it began; 0 when there is none.
    pub since_ns: u64,
    /// The superblock it has reached; 0 when not known.
    pub dev: u32,
    /// The FUSE superblock it asks or asked last; 0 for none.
    pub cause_dev: u32,
}

impl OpenCall {
    /// None.
    pub const NONE: Self = Self {
        since_ns: 0,
        dev: 0,
        cause_dev: 0,
    };

    /// A task's.
    #[inline(always)]
    pub fn of(task: *const u8, tid: u32) -> Self {
        let mut open = Self::NONE;
        open.look_at_call(task, tid);
        open.look_at_fuse_call(tid);
        open
    }

    /// Whether there is one.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.since_ns != 0
    }

    #[inline(always)]
    fn look_at_call(&mut self, task: *const u8, tid: u32) {
        let Some(slot) = calls::own_slot(tid) else {
            return;
        };
        // SAFETY: a live map value.
        let call = unsafe { &*slot };
        let start_ns = call.start_ns;
        if start_ns == 0 || !is_plausible(task, call.number) {
            return;
        }
        self.since_ns = start_ns;
        if call.stage == CallStage::Attr as u8 || call.stage == CallStage::Walked as u8 {
            self.dev = call.dev;
        }
        self.cause_dev = call.cause_dev;
    }

    /// A request whose return nobody observes leaves its slot behind: only those that are closed tell
    /// what is going on.
    #[inline(always)]
    fn look_at_fuse_call(&mut self, tid: u32) {
        let Some(slot) = FUSE_CALLS.get(tid & (CALLS_MAX - 1)) else {
            return;
        };
        let &FuseCall { start_ns, dev, .. } = slot;
        if slot.tid != tid || start_ns == 0 || slot.is_closed == 0 {
            return;
        }
        self.cause_dev = dev;
        if self.since_ns == 0 {
            self.since_ns = start_ns;
        }
    }
}

/// Whether a task may be in the call that its slot tells: one whose end was missed is left behind
/// until the next, and must not give that one its age.
#[inline(always)]
fn is_plausible(task: *const u8, number: u32) -> bool {
    let Some(user) = user_call(task) else {
        return number >= CALL_FSTAT;
    };
    if number != CALL_STATX && number != CALL_FSTAT {
        return user.number == u64::from(number);
    }
    if user.is_compat || user.number == IO_URING_ENTER || user.number >= u64::from(SYSCALL_OPS_MAX)
    {
        return true;
    }
    match SYSCALL_OPS.get(user.number as u32) {
        // `fstat` takes no path: a walk that is still open there was left behind.
        Some(arguments) => {
            let walks = arguments.path != NO_ARGUMENT;
            arguments.op != 0 && arguments.stat != NO_ARGUMENT && (walks || number == CALL_FSTAT)
        }
        None => false,
    }
}

//! The record of one path syscall: who met what, and under which path.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use mount_observer_common::{PathRecord, RecordKind, TotalsKey, TotalsSlot};

use crate::{
    errno::is_recorded,
    kernel::{mount_namespace, with_current},
    record::{self, Facts, Wake},
    totals::{self, BURST_RECORDS},
    trace::{self, Operation},
};

/// What a record says besides the caller and the path.
pub struct Sample {
    /// What the call was counted under.
    pub key: TotalsKey,
    /// The FUSE superblock asked last; 0 for none.
    pub cause_dev: u32,
    /// Whether the kernel's own walk named the superblock.
    pub is_exact: bool,
    /// Now.
    pub now_ns: u64,
    /// From start to end; 0 when not known.
    pub latency_ns: u64,
}

impl Sample {
    /// Leaves the record, as far as the rate limit of `slot` admits one; `describe` writes `dfd`,
    /// `path_len` and `path`.
    #[inline(always)]
    pub fn leave(&self, slot: *mut TotalsSlot, describe: impl FnOnce(*mut PathRecord)) {
        // SAFETY: from slot_of.
        let Some(suppressed) = (unsafe { totals::admit(slot, self.now_ns, BURST_RECORDS) }) else {
            return;
        };
        let Some(mut room) = record::reserve::<PathRecord>() else {
            return;
        };
        let kind = if is_recorded(u32::from(self.key.errno)) {
            RecordKind::PathFailed
        } else {
            RecordKind::PathSlow
        };
        self.fill(room.as_mut_ptr(), kind, suppressed);
        describe(room.as_mut_ptr());
        record::submit(room, Wake::Later);
    }

    /// Leaves a record for the trace, if there is one and it wants the call; `describe` as for
    /// [`Self::leave`].
    #[inline(always)]
    pub fn trace(&self, describe: impl FnOnce(*mut PathRecord)) {
        if !trace::is_traced() {
            return;
        }
        let operation = Operation::of_current(&self.key, self.latency_ns);
        let Some(mut room) = trace::reserve::<PathRecord>(&operation) else {
            return;
        };
        self.fill(room.as_mut_ptr(), RecordKind::CallTraced, 0);
        describe(room.as_mut_ptr());
        trace::submit(room);
    }

    /// Writes all but what was asked for.
    #[inline(always)]
    fn fill(&self, record: *mut PathRecord, kind: RecordKind, suppressed: u32) {
        let facts = Facts {
            kind,
            op: self.key.op,
            time_ns: self.now_ns,
            latency_ns: self.latency_ns,
            dev: self.key.dev,
            errno: u32::from(self.key.errno),
            pid_tgid: bpf_get_current_pid_tgid(),
            suppressed,
            mnt_ns: with_current!(|task: R| mount_namespace::<R>(task)),
        };
        // SAFETY: reserved memory.
        unsafe {
            record::fill(&raw mut (*record).record, &facts);
            record::fill_current_comm(&raw mut (*record).record.comm);
            (*record).cause_dev = self.cause_dev;
            (*record).is_exact = u32::from(self.is_exact);
        }
    }
}

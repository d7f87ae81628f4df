//! The record of one path syscall: who met what, and under which path.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use mount_observer_common::{PathRecord, RecordKind, TotalsKey, TotalsSlot};

use crate::{
    errno::is_recorded,
    kernel::{mount_namespace, with_current},
    record::{self, Facts, Wake},
    totals::{self, BURST_RECORDS},
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
        let errno = u32::from(self.key.errno);
        let facts = Facts {
            kind: if is_recorded(errno) {
                RecordKind::PathFailed
            } else {
                RecordKind::PathSlow
            },
            op: self.key.op,
            time_ns: self.now_ns,
            latency_ns: self.latency_ns,
            dev: self.key.dev,
            errno,
            pid_tgid: bpf_get_current_pid_tgid(),
            suppressed,
            mnt_ns: with_current!(|task: R| mount_namespace::<R>(task)),
        };
        let record = room.as_mut_ptr();
        // SAFETY: reserved memory.
        unsafe {
            record::fill(&raw mut (*record).record, &facts);
            record::fill_current_comm(&raw mut (*record).record.comm);
            (*record).cause_dev = self.cause_dev;
            (*record).is_exact = u32::from(self.is_exact);
        }
        describe(record);
        record::submit(room, Wake::Later);
    }
}

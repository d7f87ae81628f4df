//! What the end of a FUSE request leaves behind: a count, and a record where it matters.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use mount_observer_common::{COMM_BYTES, InFlight, Record, RecordKind, RiskRecord, TotalsKey};

use super::{risk, traced};
use crate::{
    errno::is_recorded,
    kernel::Reader,
    maps::SETTINGS,
    record::{self, Facts, Wake},
    totals::{self, BURST_RECORDS, BURST_RISKS},
    trace,
};

/// Whose request it was.
#[derive(Clone, Copy)]
pub(super) enum Who {
    /// The one who sent it: a live value of `IN_FLIGHT`.
    Sender(*const InFlight),
    /// The current thread.
    Current,
    /// Not known: the current thread is the server or the aborter.
    Nobody,
}

/// The request itself.
#[derive(Clone, Copy)]
pub(super) struct Request {
    /// Its `struct fuse_args`; null when not known.
    pub(super) args: *const u8,
    /// Its `struct fuse_req`; `None` where there never was one.
    pub(super) request: Option<*const u8>,
}

/// The end of a request.
pub(super) struct End {
    /// What it is counted under.
    pub(super) key: TotalsKey,
    /// Now.
    pub(super) now_ns: u64,
    /// When it began; 0 when not known.
    pub(super) start_ns: u64,
    /// Whose it was.
    pub(super) who: Who,
}

impl End {
    /// Counts it; a failure that matters, and a slow end, leave a record, and in a trace every end it
    /// wants to see.
    #[inline(always)]
    pub(super) fn leave<R: Reader>(&self, of: Request) {
        let latency_ns = if self.start_ns == 0 {
            0
        } else {
            self.now_ns.saturating_sub(self.start_ns)
        };
        if trace::is_traced() {
            traced::leave::<R>(self, latency_ns, of);
        }
        let Some(slot) = totals::slot_of(&self.key) else {
            return;
        };
        let mut is_slow = false;
        if self.start_ns == 0 {
            // SAFETY: just looked up.
            unsafe { totals::add_end(slot, self.now_ns) };
        } else {
            is_slow = SETTINGS
                .get(0)
                .is_some_and(|settings| latency_ns >= settings.slow_ns);
            // SAFETY: just looked up.
            unsafe { totals::add_latency(slot, self.now_ns, latency_ns, is_slow) };
        }
        if risk::is_at_risk(self.key.op, u32::from(self.key.errno)) {
            // SAFETY: just looked up.
            if let Some(suppressed) = unsafe { totals::admit(slot, self.now_ns, BURST_RISKS) } {
                self.tell_risk::<R>(latency_ns, suppressed, of.args);
            }
            return;
        }
        let kind = if is_recorded(u32::from(self.key.errno)) {
            RecordKind::RequestFailed
        } else if is_slow {
            RecordKind::RequestSlow
        } else {
            return;
        };
        // SAFETY: just looked up.
        if let Some(suppressed) = unsafe { totals::admit(slot, self.now_ns, BURST_RECORDS) } {
            self.tell(kind, latency_ns, suppressed);
        }
    }

    #[inline(always)]
    fn tell(&self, kind: RecordKind, latency_ns: u64, suppressed: u32) {
        let Some(mut room) = record::reserve::<Record>() else {
            return;
        };
        self.fill(room.as_mut_ptr(), kind, latency_ns, suppressed);
        record::submit(room, Wake::Later);
    }

    #[inline(always)]
    fn tell_risk<R: Reader>(&self, latency_ns: u64, suppressed: u32, args: *const u8) {
        let Some(mut room) = record::reserve::<RiskRecord>() else {
            return;
        };
        let record = room.as_mut_ptr();
        // SAFETY: reserved memory.
        unsafe {
            let fixed = &raw mut (*record).record;
            self.fill(fixed, RecordKind::WriteFailed, latency_ns, suppressed);
            (*record).is_refused = u32::from(matches!(self.who, Who::Current));
            risk::describe::<R>(record, self.key.op, args);
        }
        record::submit(room, Wake::Later);
    }

    /// Writes the fixed part of a record.
    #[inline(always)]
    pub(super) fn fill(
        &self,
        record: *mut Record,
        kind: RecordKind,
        latency_ns: u64,
        suppressed: u32,
    ) {
        let facts = Facts {
            kind,
            op: self.key.op,
            time_ns: self.now_ns,
            latency_ns,
            dev: self.key.dev,
            errno: u32::from(self.key.errno),
            pid_tgid: match self.who {
                // SAFETY: a live map value.
                Who::Sender(entry) => unsafe {
                    u64::from((*entry).tgid) << 32 | u64::from((*entry).tid)
                },
                Who::Current => bpf_get_current_pid_tgid(),
                Who::Nobody => 0,
            },
            suppressed,
            mnt_ns: 0,
        };
        // SAFETY: reserved memory, and a live map value.
        unsafe {
            record::fill(record, &facts);
            match self.who {
                Who::Sender(entry) => (*record).comm = (*entry).comm,
                Who::Current => record::fill_current_comm(&raw mut (*record).comm),
                Who::Nobody => (*record).comm = [0; COMM_BYTES],
            }
        }
    }
}

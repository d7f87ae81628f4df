//! The ring buffer: drained in bounded batches, on wake-up or on a tick.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{Map, MapData, MapError, RingBuf};

use super::bpf_log::BpfLog;

/// Records taken in one go. A flood then leaves the other arms of the caller's loop their turn.
pub const BATCH_MAX: usize = 4_096;

/// The consumer's end of `EVENTS`.
///
/// Programs wake it only for what settles a matter at once, so poll it too: whoever waits for
/// readability alone may wait for ever.
pub struct Ring {
    records: RingBuf<MapData>,
    /// The programs' own messages, where asked for: read whenever the records are.
    messages: Option<BpfLog>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    pub(super) fn new(map: Map, messages: Option<BpfLog>) -> Result<Self, MapError> {
        let records = RingBuf::try_from(map)?;
        Ok(Self { records, messages })
    }

    /// Hands up to [`BATCH_MAX`] records to `each` and returns how many; fewer than that means the
    /// ring is empty now.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        if let Some(messages) = &mut self.messages {
            messages.flush();
        }
        let mut taken = 0;
        while taken < BATCH_MAX {
            let Some(record) = self.records.next() else {
                break;
            };
            each(&record);
            taken += 1;
        }
        taken
    }

    /// A descriptor that becomes readable on a wake-up, to register with an event loop. It is a
    /// duplicate: it stays valid whatever happens to the ring.
    pub fn wake_up(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.records.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

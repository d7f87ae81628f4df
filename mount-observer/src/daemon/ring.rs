//! The ring buffer: drained in bounded batches, on wake-up or on a tick.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{MapData, MapError, RingBuf};

/// Records taken in one go. A flood then leaves the other arms of the caller's loop their turn.
pub const BATCH_MAX: usize = 4_096;

/// The consumer's end of `EVENTS`.
///
/// Programs wake it only for what settles a matter at once, so poll it too: whoever waits for
/// readability alone may wait for ever.
pub struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ring").finish()
    }
}

impl Ring {
    pub(super) fn new(map: aya::maps::Map) -> Result<Self, MapError> {
        RingBuf::try_from(map).map(Self)
    }

    /// Hands up to [`BATCH_MAX`] records to `each` and returns how many; fewer than that means the
    /// ring is empty now.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < BATCH_MAX {
            let Some(record) = self.0.next() else { break };
            each(&record);
            taken += 1;
        }
        taken
    }

    /// A descriptor that becomes readable on a wake-up, to register with an event loop. It is a
    /// duplicate: it stays valid whatever happens to the ring.
    pub fn wake_up(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

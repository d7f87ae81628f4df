//! Recordings: every input of an observer with the time it was taken, so that the same can be decided
//! again, on another machine and without privileges.
//!
//! A file is 16 bytes of [`MAGIC`] and version, the header as a frame ([`Header`]), then segments of
//! frames. A frame ([`frame`]) is compressed and checked as a whole; its payload is entries, each
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of what follows the two times |
//! | 8 | monotonic time, ns |
//! | 8 | wall-clock time, ns since the Unix epoch |
//! | .. | the input: a `MessagePack` map with named fields |
//!
//! Numbers are little-endian. Each segment begins with what stood by then (mount tables, last scans,
//! counters), so that any number of segments from the front may be missing: a ring in a file
//! ([`FileRing`]), where the oldest is overwritten, or in memory ([`MemoryRing`]). What an entry says only
//! where it differs from the one before refers to entries of the same segment.
//!
//! A reader ([`Reader`]) gives all up to the first damage and says where that is. A file without an end
//! was cut off. Entries of a kind that it does not know are left out and counted: they are a later
//! version's.

mod convert;
mod file_ring;
pub mod frame;
mod header;
mod layout;
mod memory_ring;
mod names;
mod packer;
mod reader;
mod standing;
mod wire;

pub use file_ring::{FILE_MIN_BYTES, FileRing, Piece, SEGMENTS, TooSmall};
pub use header::{Decisive, FORMAT, Header};
pub use memory_ring::MemoryRing;
pub use packer::Packer;
pub use reader::{Entry, Flaw, OpenError, Reader, Tally};
pub use standing::Standing;

use crate::input::Input;

/// What a file begins with, and the four bytes of [`FORMAT`] after it. As in PNG, a transfer that takes
/// it for text shows.
pub const MAGIC: [u8; 12] = *b"\x89MOREC\r\n\x1a\n\0\0";

/// Bytes before the frame of the header.
pub const PREFIX_BYTES: usize = 16;

/// What can stand in a recording.
#[derive(Clone, Debug)]
pub enum Said {
    /// The observer learnt something.
    Input(Input),
    /// The configuration was read again.
    Reconfigure(Box<Decisive>),
    /// So many inputs are missing here.
    Lost(u64),
}

impl Said {
    /// What kind it is, for people.
    pub const fn name(&self) -> &'static str {
        let input = match self {
            Self::Input(input) => input,
            Self::Reconfigure(_) => return "reconfigure",
            Self::Lost(_) => return "lost",
        };
        match input {
            Input::Record(_) => "record",
            Input::Totals(_) => "totals",
            Input::InFlight(_) => "in_flight",
            Input::Holders(_) => "holders",
            Input::Tasks { .. } => "tasks",
            Input::ShadowWrites(_) => "shadow_writes",
            Input::Files { .. } => "files",
            Input::Connection(_) => "connection",
            Input::Mountinfo { .. } => "mountinfo",
            Input::Namespaces(_) => "namespaces",
            Input::Waiting(_) => "waiting",
            Input::WaitFunctions(_) => "wait_functions",
            Input::Names(_) => "names",
            Input::Units(_) => "units",
            Input::Links(_) => "links",
            Input::Health(_) => "health",
            Input::Unseen { .. } => "unseen",
            Input::Layout { .. } => "layout",
            Input::RecoveryEnabled(_) => "recovery_enabled",
            Input::RecoveryRuns(_) => "recovery_runs",
            Input::RecoveryDone { .. } => "recovery_done",
            Input::Remembered(_) => "remembered",
            Input::Sysctls(_) => "sysctls",
            Input::Trouble { .. } => "trouble",
            Input::TraceGroups(_) => "trace_groups",
            Input::Tick => "tick",
        }
    }
}

/// The beginning of a file.
fn prefix() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests;

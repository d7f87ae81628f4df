//! Collects entries into the payload of a frame.

use super::{
    Header, Said,
    convert::Written,
    frame::{self, FrameKind, PAYLOAD_MAX_BYTES},
    prefix,
};
use crate::time::Now;

/// A payload is packed once it has this size: large enough to compress well, small enough that what a
/// kill or a damage takes with it is little.
pub(super) const PAYLOAD_BYTES: usize = 256 << 10;

/// Bytes of an entry before the input.
pub(super) const ENTRY_HEADER_BYTES: usize = 20;

/// The entries of one segment on their way into frames.
#[derive(Debug, Default)]
pub struct Packer {
    segment: u32,
    written: Written,
    payload: Vec<u8>,
    entries: u32,
}

impl Packer {
    /// Of a segment that begins.
    pub fn new(segment: u32) -> Self {
        Self {
            segment,
            ..Self::default()
        }
    }

    /// Adds an entry; false when it cannot be written: it is longer than a payload may be.
    #[must_use]
    pub fn push(&mut self, now: Now, said: &Said) -> bool {
        let start = self.payload.len();
        self.payload.extend_from_slice(&[0; 4]);
        self.payload.extend_from_slice(&now.mono.0.to_le_bytes());
        self.payload.extend_from_slice(&now.wall.0.to_le_bytes());
        let wire = self.written.wire(said);
        let is_written = rmp_serde::encode::write_named(&mut self.payload, &wire).is_ok();
        let length = self.payload.len() - start - ENTRY_HEADER_BYTES;
        let fits = self.payload.len() <= PAYLOAD_MAX_BYTES;
        let length = u32::try_from(length).ok().filter(|_| is_written && fits);
        let place = self.payload.get_mut(start..start + 4);
        let (Some(length), Some(place)) = (length, place) else {
            self.payload.truncate(start);
            // What it said may now be thought written.
            self.written = Written::default();
            return false;
        };
        place.copy_from_slice(&length.to_le_bytes());
        self.entries += 1;
        true
    }

    /// Whether the payload should be packed.
    pub fn is_full(&self) -> bool {
        self.payload.len() >= PAYLOAD_BYTES
    }

    /// The number of its segment.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Packs what was added since the last call; `None` when that is nothing.
    pub fn pack(&mut self, kind: FrameKind) -> Option<Vec<u8>> {
        if self.entries == 0 {
            return None;
        }
        let packed = frame::pack(kind, self.segment, self.entries, &self.payload);
        self.payload.clear();
        self.entries = 0;
        packed
    }

    /// The frame that ends the segment, or the recording.
    pub fn end(&self, kind: FrameKind) -> Vec<u8> {
        frame::pack(kind, self.segment, 0, &[]).unwrap_or_default()
    }
}

/// What a file begins with; `None` for a header that cannot be written.
pub(super) fn beginning(header: &Header) -> Option<Vec<u8>> {
    let payload = rmp_serde::to_vec_named(header).ok()?;
    let mut bytes = prefix();
    bytes.extend(frame::pack(FrameKind::Header, 0, 1, &payload)?);
    Some(bytes)
}

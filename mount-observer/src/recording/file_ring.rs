//! A ring in a file of bounded size: segments of equal size at fixed places. When all are used, the
//! oldest is overwritten. One file, never renamed, never copied; whatever kills its writer, what is left
//! can be read.
//!
//! It says what is to be written where, and writes nothing.

use thiserror::Error;

use super::{
    Header, Packer, Said, Standing,
    frame::{FRAME_HEADER_BYTES, FrameKind},
    packer::beginning,
};
use crate::time::Now;

/// Segments of a ring: what goes at once is an eighth of it.
pub const SEGMENTS: u32 = 8;

/// The least a file may be bounded to.
pub const FILE_MIN_BYTES: u64 = 1 << 20;

/// Bytes to write at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// From the beginning of the file.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// The bound is too small for what has to be written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "{bytes} bytes are to be written, and a segment of the file, an eighth of its bound, has {segment}"
)]
pub struct TooSmall {
    /// What is to be written at once.
    pub bytes: u64,
    /// What there is room for.
    pub segment: u64,
}

/// The ring.
#[derive(Debug)]
pub struct FileRing {
    segment_bytes: u64,
    first: u64,
    packer: Packer,
    /// Bytes used of the segment.
    used: u64,
    /// What stood before what is pending.
    standing: Standing,
    pending: Vec<(Now, Said)>,
}

impl FileRing {
    /// A file of at most `bytes_max`, and what it begins with.
    pub fn new(mut header: Header, bytes_max: u64) -> Result<(Self, Piece), TooSmall> {
        let size = bytes_max.max(FILE_MIN_BYTES) / u64::from(SEGMENTS);
        header.segments = SEGMENTS;
        header.segment_bytes = size;
        // With the header before them, the segments stay below the bound. Its length hardly depends
        // on the number in it.
        let length_max = length(&beginning(&header).unwrap_or_default()) + 16;
        header.segment_bytes = size.saturating_sub(length_max.div_ceil(u64::from(SEGMENTS)));
        let bytes = beginning(&header).unwrap_or_default();
        if bytes.is_empty() || header.segment_bytes < size / 2 {
            return Err(TooSmall {
                bytes: length_max,
                segment: size,
            });
        }
        let ring = Self {
            segment_bytes: header.segment_bytes,
            first: length(&bytes),
            packer: Packer::new(1),
            used: 0,
            standing: Standing::default(),
            pending: Vec::new(),
        };
        Ok((ring, Piece { offset: 0, bytes }))
    }

    /// Takes what was said; false when it cannot be recorded.
    #[must_use]
    pub fn push(&mut self, now: Now, said: Said) -> bool {
        let is_written = self.packer.push(now, &said);
        if is_written {
            self.pending.push((now, said));
        }
        is_written
    }

    /// Whether enough was said for a frame.
    pub fn is_full(&self) -> bool {
        self.packer.is_full()
    }

    /// What is to be written now for what was said.
    pub fn flush(&mut self) -> Result<Vec<Piece>, TooSmall> {
        let Some(frame) = self.packer.pack(FrameKind::Entries) else {
            return Ok(Vec::new());
        };
        let pieces = if self.has_room(&frame) {
            vec![self.piece(frame)]
        } else {
            let mut pieces = vec![self.piece(self.packer.end(FrameKind::SegmentEnd))];
            pieces.extend(self.begin_segment()?);
            pieces
        };
        for (now, said) in self.pending.drain(..) {
            self.standing.take(now, said);
        }
        Ok(pieces)
    }

    /// What is to be written at the end.
    pub fn finish(&mut self) -> Result<Vec<Piece>, TooSmall> {
        let mut pieces = self.flush()?;
        pieces.push(self.piece(self.packer.end(FrameKind::End)));
        Ok(pieces)
    }

    /// The next segment: what stands, and what is pending.
    fn begin_segment(&mut self) -> Result<Vec<Piece>, TooSmall> {
        self.packer = Packer::new(self.packer.segment() + 1);
        self.used = 0;
        let mut frames = Vec::new();
        for (now, said) in self.standing.all() {
            // What cannot be written now could not be written before.
            let _is_written: bool = self.packer.push(now, said);
            if self.packer.is_full() {
                frames.extend(self.packer.pack(FrameKind::Standing));
            }
        }
        frames.extend(self.packer.pack(FrameKind::Standing));
        for (now, said) in &self.pending {
            let _is_written: bool = self.packer.push(*now, said);
        }
        frames.extend(self.packer.pack(FrameKind::Entries));
        let mut pieces = Vec::new();
        for frame in frames {
            if !self.has_room(&frame) {
                return Err(TooSmall {
                    bytes: self.used + length(&frame),
                    segment: self.segment_bytes,
                });
            }
            pieces.push(self.piece(frame));
        }
        Ok(pieces)
    }

    /// Whether a frame fits, and the end of the segment after it.
    fn has_room(&self, frame: &[u8]) -> bool {
        let end = u64::try_from(FRAME_HEADER_BYTES).unwrap_or(u64::MAX);
        self.used + length(frame) + end <= self.segment_bytes
    }

    fn piece(&mut self, bytes: Vec<u8>) -> Piece {
        let slot = u64::from(self.packer.segment().saturating_sub(1) % SEGMENTS);
        let offset = self.first + slot * self.segment_bytes + self.used;
        self.used += length(&bytes);
        Piece { offset, bytes }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

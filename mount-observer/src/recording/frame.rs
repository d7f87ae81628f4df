//! One frame: a header of fixed size, and a payload that is compressed and checked as a whole.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `MOfr` |
//! | 4 | 4 | [`FrameKind`] |
//! | 8 | 4 | number of the segment, from 1; 0 for the header of the file |
//! | 12 | 4 | entries in the payload |
//! | 16 | 4 | bytes of the payload once unpacked |
//! | 20 | 4 | bytes of the payload as it stands here (an LZ4 block) |
//! | 24 | 4 | CRC-32 (IEEE 802.3) of the 24 bytes above and the payload |

use thiserror::Error;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 28;

/// The most a payload may unpack to: some 400 000 lines of a mount table.
pub const PAYLOAD_MAX_BYTES: usize = 64 << 20;

/// An LZ4 block cannot unpack to more than this many times its size
/// (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>): a byte of length is 255 bytes.
const LZ4_RATIO_MAX: usize = 255;

const MAGIC: [u8; 4] = *b"MOfr";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The header of the file.
    Header,
    /// What stood when the segment began, learnt before it.
    Standing,
    /// What was learnt.
    Entries,
    /// Nothing: the segment ends here, and another follows.
    SegmentEnd,
    /// Nothing: the recording ends here.
    End,
}

impl FrameKind {
    const ALL: [(Self, u32); 5] = [
        (Self::Header, 1),
        (Self::Standing, 2),
        (Self::Entries, 3),
        (Self::SegmentEnd, 4),
        (Self::End, 5),
    ];

    fn to_wire(self) -> u32 {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or(0, |(_, number)| *number)
    }

    fn from_wire(number: u32) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == number);
        found.map(|(kind, _)| *kind)
    }
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// The segment it belongs to.
    pub segment: u32,
    /// Entries in the payload.
    pub entries: u32,
    /// The payload, unpacked.
    pub payload: Vec<u8>,
    /// Bytes it takes in the file.
    pub size: usize,
}

/// Why no frame could be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The data ends within a frame, or before one.
    #[error("the file ends here")]
    Cut,
    /// Something else stands here.
    #[error("no frame begins here")]
    NoFrame,
    /// The checksum tells.
    #[error("the checksum does not fit: {0} bytes were changed or never written")]
    Checksum(usize),
    /// Lengths that cannot be.
    #[error("a frame says that {packed} bytes unpack to {unpacked}")]
    Length {
        /// As it stands in the file.
        packed: u32,
        /// What it is to become.
        unpacked: u32,
    },
    /// The checksum fits, and yet it is no LZ4.
    #[error("a frame cannot be unpacked")]
    Packed,
    /// Its entries are not those that it says it holds.
    #[error("a frame whose entries are not as many as it says")]
    Entries,
    /// Of a later version.
    #[error("a frame of unknown kind {0}")]
    Kind(u32),
}

/// Packs a payload into a frame; `None` when it is longer than a frame may be.
pub fn pack(kind: FrameKind, segment: u32, entries: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let unpacked = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= PAYLOAD_MAX_BYTES)?;
    let packed = if payload.is_empty() {
        Vec::new()
    } else {
        lz4_flex::block::compress(payload)
    };
    let length = u32::try_from(packed.len()).ok()?;
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + packed.len());
    frame.extend_from_slice(&MAGIC);
    for number in [kind.to_wire(), segment, entries, unpacked, length] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = checksum(&frame, &packed);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.extend_from_slice(&packed);
    Some(frame)
}

/// Reads the frame that `bytes` begin with.
pub fn unpack(bytes: &[u8]) -> Result<Frame, FrameError> {
    let (start, rest) = bytes
        .split_at_checked(FRAME_HEADER_BYTES)
        .ok_or(FrameError::Cut)?;
    let (magic, numbers) = start.split_at_checked(4).ok_or(FrameError::Cut)?;
    if magic != MAGIC {
        return Err(FrameError::NoFrame);
    }
    let mut numbers = numbers.chunks_exact(4).filter_map(|number| {
        let number: [u8; 4] = number.try_into().ok()?;
        Some(u32::from_le_bytes(number))
    });
    let mut next = || numbers.next().ok_or(FrameError::Cut);
    let (kind, segment, entries) = (next()?, next()?, next()?);
    let (unpacked, packed, sum) = (next()?, next()?, next()?);
    let length = usize::try_from(packed).unwrap_or(usize::MAX);
    let payload = rest.get(..length).ok_or(FrameError::Cut)?;
    let covered = start.get(..FRAME_HEADER_BYTES - 4).unwrap_or_default();
    if checksum(covered, payload) != sum {
        return Err(FrameError::Checksum(FRAME_HEADER_BYTES + length));
    }
    let kind = FrameKind::from_wire(kind).ok_or(FrameError::Kind(kind))?;
    let payload = decompress(payload, packed, unpacked)?;
    Ok(Frame {
        kind,
        segment,
        entries,
        payload,
        size: FRAME_HEADER_BYTES + length,
    })
}

/// The number of the segment that a frame at the beginning of `bytes` belongs to, if a whole one is
/// there.
pub fn segment_of(bytes: &[u8]) -> Option<u32> {
    unpack(bytes).ok().map(|frame| frame.segment)
}

fn decompress(payload: &[u8], packed: u32, unpacked: u32) -> Result<Vec<u8>, FrameError> {
    let size = usize::try_from(unpacked).unwrap_or(usize::MAX);
    let possible = payload.len().saturating_mul(LZ4_RATIO_MAX);
    if size > possible.min(PAYLOAD_MAX_BYTES) {
        return Err(FrameError::Length { packed, unpacked });
    }
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut buffer = vec![0; size];
    match lz4_flex::block::decompress_into(payload, &mut buffer) {
        Ok(written) if written == size => Ok(buffer),
        Ok(_) | Err(_) => Err(FrameError::Packed),
    }
}

fn checksum(start: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(start);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_packed() {
        for payload in [Vec::new(), vec![7; 3], vec![1; 100_000]] {
            let packed = pack(FrameKind::Entries, 3, 9, &payload).unwrap();
            let frame = unpack(&packed).unwrap();
            assert_eq!((frame.kind, frame.segment), (FrameKind::Entries, 3));
            assert_eq!((frame.entries, frame.size), (9, packed.len()));
            assert_eq!(frame.payload, payload);
        }
    }

    #[test]
    fn a_length_that_cannot_be_reserves_nothing() {
        let mut start = MAGIC.to_vec();
        for number in [3_u32, 1, 1, u32::MAX, 4] {
            start.extend_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(&start, b"abcd");
        start.extend_from_slice(&sum.to_le_bytes());
        start.extend_from_slice(b"abcd");
        let expected = FrameError::Length {
            packed: 4,
            unpacked: u32::MAX,
        };
        assert_eq!(unpack(&start), Err(expected));
    }
}

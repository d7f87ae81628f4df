//! Reads a recording, up to the first damage.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{
    FILE_MIN_BYTES, FORMAT, Header, MAGIC, PREFIX_BYTES, SEGMENTS, Said,
    convert::Read,
    frame::{self, Frame, FrameError, FrameKind},
    packer::ENTRY_HEADER_BYTES,
    wire::Wire,
};
use crate::time::{Mono, Now, Wall};

/// Why a file cannot be read at all.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// Something else.
    #[error("no recording of mount-observer")]
    NoRecording,
    /// Of another format.
    #[error("a recording of format {0}, and this version reads format {FORMAT}")]
    Format(u32),
    /// Its first frame is damaged.
    #[error("the header is damaged")]
    Header(#[source] FrameError),
    /// Its first frame is whole, but says what this version does not understand.
    #[error("the header cannot be understood: {0}")]
    Meaning(String),
}

/// Why reading ended before the recording did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub error: FrameError,
}

impl Flaw {
    /// Whether the file only ends: it was cut off, or its writer was killed.
    pub fn is_cut(&self) -> bool {
        self.error == FrameError::Cut
    }
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was taken.
    pub now: Now,
    /// What was said.
    pub said: Said,
    /// Whether it was said before the recording begins, and still stood then.
    pub is_standing: bool,
}

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries.
    pub entries: u64,
    /// Entries of a kind that this version does not know.
    pub unknown: u64,
    /// Inputs that the recorder did not record.
    pub lost: u64,
    /// Bytes of the file that were good.
    pub bytes: u64,
}

/// A recording, read from beginning to end.
#[derive(Debug)]
pub struct Reader<'a> {
    header: Header,
    bytes: &'a [u8],
    /// Where segments that are still to be read begin, with their numbers, the next one last. Of a file
    /// that is no ring there is one, of any number.
    segments: Vec<(usize, Option<u32>)>,
    at: usize,
    segment: Option<u32>,
    is_first: bool,
    read: Read,
    frame: Option<Payload>,
    flaw: Option<Flaw>,
    is_at_end: bool,
    tally: Tally,
}

/// A payload and how far it was read.
#[derive(Debug)]
struct Payload {
    frame: Frame,
    at: usize,
    taken: u32,
}

impl<'a> Reader<'a> {
    /// Reads the header.
    pub fn open(bytes: &'a [u8]) -> Result<Self, OpenError> {
        let (start, rest) = bytes
            .split_at_checked(PREFIX_BYTES)
            .ok_or(OpenError::NoRecording)?;
        let format = start
            .strip_prefix(&MAGIC)
            .and_then(|rest| rest.first_chunk());
        let format = u32::from_le_bytes(*format.ok_or(OpenError::NoRecording)?);
        if format != FORMAT {
            return Err(OpenError::Format(format));
        }
        let frame = frame::unpack(rest).map_err(OpenError::Header)?;
        if frame.kind != FrameKind::Header {
            return Err(OpenError::Header(FrameError::NoFrame));
        }
        let header: Header = rmp_serde::from_slice(&frame.payload)
            .map_err(|error| OpenError::Meaning(error.to_string()))?;
        let is_ring = header.segments == SEGMENTS
            && header.segment_bytes >= FILE_MIN_BYTES / u64::from(SEGMENTS) / 2;
        if header.segment_bytes != 0 && !is_ring {
            return Err(OpenError::Meaning("its segments are none".to_owned()));
        }
        let first = PREFIX_BYTES + frame.size;
        let segments = segments(&header, bytes, first);
        let mut reader = Self {
            read: read_of(&header),
            header,
            bytes,
            segments,
            at: first,
            segment: None,
            is_first: true,
            frame: None,
            flaw: None,
            is_at_end: false,
            tally: Tally::default(),
        };
        reader.tally.bytes = u64::try_from(first).unwrap_or(u64::MAX);
        if !reader.next_segment() {
            reader.flaw = Some(flaw(first, FrameError::Cut));
        }
        Ok(reader)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was read so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Why reading ended early; `None` while it goes on, and of a whole recording.
    pub fn flaw(&self) -> Option<&Flaw> {
        self.flaw.as_ref()
    }

    fn next_segment(&mut self) -> bool {
        let Some((at, number)) = self.segments.pop() else {
            return false;
        };
        let expected = self.segment.and_then(|last| last.checked_add(1));
        if expected.is_some_and(|expected| number != Some(expected)) {
            // One between the two does not begin with a whole frame.
            return false;
        }
        self.at = at;
        self.segment = number;
        self.read = read_of(&self.header);
        true
    }

    /// Goes on to the next frame with entries; false at the end, or where there is no more.
    fn next_frame(&mut self) -> bool {
        while self.flaw.is_none() && !self.is_at_end {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let frame = match frame::unpack(rest) {
                // What lies behind the last frame of a ring is of an earlier round.
                Ok(frame) if self.segment.is_some_and(|number| number != frame.segment) => {
                    self.flaw = Some(flaw(self.at, FrameError::Cut));
                    return false;
                }
                Ok(frame) => frame,
                Err(error) => {
                    self.flaw = Some(flaw(self.at, self.cut_or(error)));
                    return false;
                }
            };
            self.at += frame.size;
            self.tally.bytes += u64::try_from(frame.size).unwrap_or(u64::MAX);
            match frame.kind {
                FrameKind::Standing | FrameKind::Entries => {
                    self.frame = Some(Payload {
                        frame,
                        at: 0,
                        taken: 0,
                    });
                    return true;
                }
                FrameKind::SegmentEnd => {
                    self.is_first = false;
                    if !self.next_segment() {
                        self.flaw = Some(flaw(self.at, FrameError::Cut));
                    }
                }
                FrameKind::End => self.is_at_end = true,
                FrameKind::Header => {
                    let offset = self.at - frame.size;
                    self.flaw = Some(flaw(offset, FrameError::NoFrame));
                }
            }
        }
        false
    }

    /// Behind the last frame of the last segment of a ring stands what was there before.
    fn cut_or(&self, error: FrameError) -> FrameError {
        let is_last = self.segment.is_some() && self.segments.is_empty();
        if is_last && error == FrameError::NoFrame {
            FrameError::Cut
        } else {
            error
        }
    }
}

impl Iterator for Reader<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if self.frame.is_none() && !self.next_frame() {
                return None;
            }
            let payload = self.frame.as_mut()?;
            let is_standing = payload.frame.kind == FrameKind::Standing;
            // What stands as a later segment begins was said in the one before. It is read all the same:
            // what follows is written as how it differs from it.
            let is_known = is_standing && !self.is_first;
            let Some((now, input)) = payload.next() else {
                // A right checksum of what no recorder wrote: nothing after it is believed.
                if !payload.is_whole() {
                    let offset = self.at - payload.frame.size;
                    self.flaw = Some(flaw(offset, FrameError::Entries));
                }
                self.frame = None;
                continue;
            };
            let wire = rmp_serde::from_slice::<Wire<'_>>(input);
            let said = wire.ok().and_then(|wire| self.read.said(wire));
            if is_known {
                continue;
            }
            self.tally.entries += 1;
            let Some(said) = said else {
                self.tally.unknown += 1;
                continue;
            };
            if let Said::Lost(count) = said {
                self.tally.lost = self.tally.lost.saturating_add(count);
            }
            return Some(Entry {
                now,
                said,
                is_standing,
            });
        }
    }
}

impl Payload {
    /// Whether its entries were all that it holds, and as many as it says.
    fn is_whole(&self) -> bool {
        self.at == self.frame.payload.len() && self.taken == self.frame.entries
    }

    fn next(&mut self) -> Option<(Now, &[u8])> {
        let rest = self.frame.payload.get(self.at..)?;
        let (start, rest) = rest.split_at_checked(ENTRY_HEADER_BYTES)?;
        let (length, times) = start.split_first_chunk::<4>()?;
        let (mono, wall) = times.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let input = rest.get(..length)?;
        self.at += ENTRY_HEADER_BYTES + length;
        self.taken = self.taken.saturating_add(1);
        let now = Now {
            mono: Mono(u64::from_le_bytes(*mono)),
            wall: Wall(u64::from_le_bytes(*wall.first_chunk()?)),
        };
        Some((now, input))
    }
}

/// The entries of frames of one segment that were just packed.
pub(super) fn entries_of(header: &Header, frames: &[u8]) -> impl Iterator<Item = Entry> {
    Reader {
        header: header.clone(),
        bytes: frames,
        segments: Vec::new(),
        at: 0,
        segment: None,
        is_first: true,
        read: read_of(header),
        frame: None,
        flaw: None,
        is_at_end: false,
        tally: Tally::default(),
    }
}

fn read_of(header: &Header) -> Read {
    Read::new(!header.is_of_today())
}

fn flaw(offset: usize, error: FrameError) -> Flaw {
    Flaw {
        offset: u64::try_from(offset).unwrap_or(u64::MAX),
        error,
    }
}

/// Where the segments begin, the first to be read last.
fn segments(header: &Header, bytes: &[u8], first: usize) -> Vec<(usize, Option<u32>)> {
    let size = usize::try_from(header.segment_bytes).unwrap_or(usize::MAX);
    if size == 0 {
        return vec![(first, None)];
    }
    let mut found = BTreeMap::new();
    let mut at = first;
    for _ in 0..header.segments {
        let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
            break;
        };
        if let Some(number) = frame::segment_of(rest) {
            found.insert(number, at);
        }
        at = at.saturating_add(size);
    }
    let found = found.into_iter().rev();
    found.map(|(number, at)| (at, Some(number))).collect()
}

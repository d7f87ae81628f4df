//! A ring in memory: the flight recorder. What it holds becomes a file when something happens.

use std::{collections::VecDeque, time::Duration};

use super::{
    Entry, Header, Packer, Said, Standing, frame::FrameKind, packer::beginning, reader::entries_of,
};
use crate::time::{Mono, Now};

/// Parts that it is made of: the oldest goes as a whole.
const PARTS: u32 = 8;

/// The last minutes, packed.
#[derive(Debug)]
pub struct MemoryRing {
    header: Header,
    length: Duration,
    bytes_max: usize,
    parts: VecDeque<Part>,
    packer: Packer,
    /// What stood when the oldest part began.
    before: Standing,
    lost: u64,
}

/// Frames that know nothing of those before.
#[derive(Debug)]
struct Part {
    begun: Mono,
    frames: Vec<Vec<u8>>,
    bytes: usize,
}

impl MemoryRing {
    /// Holds what was said within `length`, and not more than `bytes_max` of it, packed.
    pub fn new(header: Header, length: Duration, bytes_max: usize) -> Self {
        Self {
            header,
            length,
            bytes_max,
            parts: VecDeque::new(),
            packer: Packer::new(1),
            before: Standing::default(),
            lost: 0,
        }
    }

    /// Takes what was said.
    pub fn push(&mut self, now: Now, said: &Said) {
        let begun = self.parts.back().map(|part| part.begun);
        let is_long = begun.is_none_or(|begun| now.mono.since(begun) >= self.length / PARTS);
        let is_large = self
            .parts
            .back()
            .is_some_and(|part| part.bytes >= self.bytes_max / usize::try_from(PARTS).unwrap_or(1));
        if is_long || is_large {
            self.pack();
            self.packer = Packer::new(self.packer.segment() + 1);
            self.parts.push_back(Part {
                begun: now.mono,
                frames: Vec::new(),
                bytes: 0,
            });
            self.forget(now.mono);
        }
        if !self.packer.push(now, said) {
            self.lost += 1;
        }
        if self.packer.is_full() {
            self.pack();
        }
    }

    /// What it holds, as a file.
    pub fn save(&mut self, now: Now) -> Option<Vec<u8>> {
        self.pack();
        let mut file = beginning(&self.header)?;
        let first = self.packer.segment().saturating_sub(self.parts_count());
        let mut packer = Packer::new(first);
        for (at, said) in self.before.all() {
            if !packer.push(at, said) {
                self.lost += 1;
            }
            if packer.is_full() {
                file.extend(packer.pack(FrameKind::Standing)?);
            }
        }
        if self.lost > 0 && !packer.push(now, &Said::Lost(self.lost)) {
            return None;
        }
        file.extend(packer.pack(FrameKind::Standing).unwrap_or_default());
        for part in &self.parts {
            for frame in &part.frames {
                file.extend_from_slice(frame);
            }
        }
        file.extend(self.packer.end(FrameKind::End));
        Some(file)
    }

    /// Bytes of packed frames held.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    fn parts_count(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(u32::MAX)
    }

    fn pack(&mut self) {
        let Some(frame) = self.packer.pack(FrameKind::Entries) else {
            return;
        };
        if let Some(part) = self.parts.back_mut() {
            part.bytes += frame.len();
            part.frames.push(frame);
        }
        while self.bytes() > self.bytes_max && self.parts.len() > 1 {
            self.forget_oldest();
        }
    }

    /// Without the first part, the others must still hold `length`.
    fn forget(&mut self, now: Mono) {
        let length = self.length;
        let is_past = |part: &Part| now.since(part.begun) >= length;
        while self.parts.get(1).is_some_and(is_past) {
            self.forget_oldest();
        }
    }

    /// Lets go of the oldest part; what stands of it is kept.
    fn forget_oldest(&mut self) {
        let Some(part) = self.parts.pop_front() else {
            return;
        };
        let frames = part.frames.concat();
        for Entry { now, said, .. } in entries_of(&self.header, &frames) {
            self.before.take(now, said);
        }
    }
}

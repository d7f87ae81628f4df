//! Sets that the programs match against, changed by their differences.

use std::collections::BTreeSet;

use aya::maps::{HashMap, MapData};
use mount_observer_common::SCOPE_FILTER_WORDS;

use super::{Created, MapsError, typed};
use crate::superblock::Dev;

/// One bit per device number modulo 4096: the programs look no further where it is not set.
pub(super) fn filter_words(devs: &[Dev]) -> Vec<u64> {
    let mut words = vec![0; usize::try_from(SCOPE_FILTER_WORDS).unwrap_or(0)];
    for dev in devs {
        let index = usize::try_from(dev.0 >> 6 & (SCOPE_FILTER_WORDS - 1));
        if let Some(word) = index.ok().and_then(|index| words.get_mut(index)) {
            *word |= 1 << (dev.0 & 63);
        }
    }
    words
}

/// Entries of `SERVERS` and of `SCOPE`.
pub(super) const WATCHED_MAX: u32 = 16_384;

/// A set in the kernel, changed by its differences.
pub(super) struct WatchedSet {
    name: &'static str,
    map: HashMap<MapData, u32, u32>,
    pub(super) members: BTreeSet<u32>,
}

impl WatchedSet {
    pub(super) fn new(name: &'static str, created: &mut Created) -> Result<Self, MapsError> {
        let map = typed(name, HashMap::try_from(created.take(name)?))?;
        Ok(Self {
            name,
            map,
            members: BTreeSet::new(),
        })
    }

    pub(super) fn replace(&mut self, wanted: BTreeSet<u32>) -> Result<(), MapsError> {
        let mut result = Ok(());
        let gone: Vec<u32> = self.members.difference(&wanted).copied().collect();
        for member in gone {
            if let Err(error) = self.map.remove(&member) {
                result = Err(MapsError::Aya(self.name, error));
            }
            self.members.remove(&member);
        }
        for member in wanted {
            if self.members.contains(&member) {
                continue;
            }
            match self.map.insert(member, 1, 0) {
                Ok(()) => {
                    self.members.insert(member);
                }
                Err(error) => result = Err(MapsError::Aya(self.name, error)),
            }
        }
        result
    }
}

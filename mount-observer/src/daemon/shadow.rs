//! What is written below mount points on which nothing is mounted: which those are, and how much the
//! programs counted.

use std::collections::BTreeMap;

use aya::{
    maps::{
        MapData, PerCpuArray, PerCpuValues,
        lpm_trie::{Key, LpmTrie},
    },
    util::nr_cpus,
};
use mount_observer_common::{EXPECTED_MAX, MATCHED_PATH_BYTES, MountPath, ShadowSlot};

use super::maps::{Created, MapsError, typed};
use crate::input::MissingMount;

const NAME: &str = "EXPECTED";
const COUNTS: &str = "SHADOW_WRITES";

/// The trie of mount points, and the counts.
pub(super) struct ShadowWrites {
    trie: LpmTrie<MapData, MountPath, u32>,
    /// What it holds: prefix length in bits and data, and the place.
    entries: BTreeMap<(u32, MountPath), u32>,
    counts: PerCpuArray<MapData, ShadowSlot>,
}

impl ShadowWrites {
    pub(super) fn take(created: &mut Created) -> Result<Self, MapsError> {
        Ok(Self {
            trie: typed(NAME, LpmTrie::try_from(created.take(NAME)?))?,
            entries: BTreeMap::new(),
            counts: typed(COUNTS, PerCpuArray::try_from(created.take(COUNTS)?))?,
        })
    }

    /// Replaces the mount points. Below one whose path is too long to match nothing is counted.
    pub(super) fn replace(&mut self, missing: &[MissingMount]) -> Result<(), MapsError> {
        let wanted: BTreeMap<_, _> = missing.iter().filter_map(entry).collect();
        let mut result = Ok(());
        // First, also what only changes its place: nothing may count where another begins at zero.
        let is_gone = |key: &_, place: &mut u32| wanted.get(key) != Some(place);
        for (key, _) in self.entries.extract_if(.., is_gone) {
            if let Err(error) = self.trie.remove(&Key::new(key.0, key.1)) {
                result = Err(MapsError::Aya(NAME, error));
            }
        }
        for (key, place) in wanted {
            if self.entries.contains_key(&key) {
                continue;
            }
            // One that would not begin at zero is not counted.
            match self.begin(&key, place) {
                Ok(()) => {
                    self.entries.insert(key, place);
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Begins to count at a place, from zero: another mount point or an earlier absence had it.
    fn begin(&mut self, key: &(u32, MountPath), place: u32) -> Result<(), MapsError> {
        let cpus = nr_cpus().map_err(|(_, error)| MapsError::Aya(COUNTS, error.into()))?;
        let zeros = PerCpuValues::try_from(vec![ShadowSlot::default(); cpus]);
        let zeros = zeros.map_err(|error| MapsError::Aya(COUNTS, error.into()))?;
        typed(COUNTS, self.counts.set(place, zeros, 0))?;
        typed(NAME, self.trie.insert(&Key::new(key.0, key.1), place, 0))
    }

    /// The count of each mount point that is missing, over all CPUs.
    pub(super) fn counts(&self) -> Result<Vec<(u32, u64)>, MapsError> {
        let places = self.entries.values();
        let count = |&place: &u32| {
            let slots = typed(COUNTS, self.counts.get(&place, 0))?;
            Ok((place, slots.iter().map(|slot| slot.count).sum()))
        };
        places.map(count).collect()
    }
}

/// `/mnt/a/`: what lies below.
fn entry(missing: &MissingMount) -> Option<((u32, MountPath), u32)> {
    let mut data = MountPath {
        mnt_ns: missing.mnt_ns,
        root: missing.root.0,
        path: [0; MATCHED_PATH_BYTES],
    };
    let len = missing.path.len();
    let (path, rest) = data.path.split_at_mut_checked(len)?;
    path.copy_from_slice(&missing.path);
    *rest.first_mut()? = b'/';
    let bits = u32::try_from((8 + len + 1) * 8).ok()?;
    (missing.place < EXPECTED_MAX).then_some(((bits, data), missing.place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::superblock::Dev;

    #[test]
    fn only_what_lies_below_matches_and_only_what_there_is_room_for() {
        let missing = |place, path: &[u8]| MissingMount {
            place,
            mnt_ns: 7,
            root: Dev(8),
            path: path.to_vec(),
        };
        let ((bits, data), place) = entry(&missing(3, b"/mnt/a")).unwrap();
        assert_eq!((bits, place), (15 * 8, 3));
        assert_eq!(&data.path[..8], b"/mnt/a/\0");
        assert_eq!(entry(&missing(EXPECTED_MAX, b"/mnt/a")), None);
        assert_eq!(entry(&missing(0, &[b'x'; MATCHED_PATH_BYTES])), None);
    }
}

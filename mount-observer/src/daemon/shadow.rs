//! What is written below mount points on which nothing is mounted: which those are, and how much the
//! programs counted.

use std::collections::BTreeMap;

use aya::maps::{
    MapData, PerCpuArray,
    lpm_trie::{Key, LpmTrie},
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
        for key in self.entries.keys().filter(|key| !wanted.contains_key(key)) {
            if let Err(error) = self.trie.remove(&Key::new(key.0, key.1)) {
                result = Err(MapsError::Aya(NAME, error));
            }
        }
        for (key, place) in wanted
            .iter()
            .filter(|(key, place)| self.entries.get(key) != Some(place))
        {
            if let Err(error) = self.trie.insert(&Key::new(key.0, key.1), place, 0) {
                result = Err(MapsError::Aya(NAME, error));
            }
        }
        self.entries = wanted;
        result
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

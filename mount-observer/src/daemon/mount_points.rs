//! The mount points that failed paths are matched against, in the kernel: a longest-prefix trie.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{
        MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use mount_observer_common::{MATCHED_PATH_BYTES, MountPath};

use super::maps::{MapsError, take, typed};
use crate::input::MountPoint;

/// Entries of the trie; a mount point takes two.
pub(super) const ENTRIES_MAX: u32 = 65_536;

const NAME: &str = "MOUNT_POINTS";

/// The trie, changed by its differences.
pub(super) struct MountPoints {
    trie: LpmTrie<MapData, MountPath, u32>,
    /// What it holds: prefix length in bits and data, and the superblock.
    entries: BTreeMap<(u32, MountPath), u32>,
}

impl MountPoints {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapsError> {
        let trie = typed(NAME, LpmTrie::try_from(take(ebpf, NAME)?))?;
        Ok(Self {
            trie,
            entries: BTreeMap::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Replaces the set. What does not fit is left out: paths there are attributed by the daemon.
    pub(super) fn replace(&mut self, points: &[MountPoint]) -> Result<(), MapsError> {
        let wanted: BTreeMap<_, _> = points
            .iter()
            .flat_map(|point| keys(point).map(|key| (key, point.dev.0)))
            .collect();
        let mut result = Ok(());
        let gone: Vec<_> = self
            .entries
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            if let Err(error) = self.trie.remove(&Key::new(key.0, key.1)) {
                result = Err(MapsError::Aya(NAME, error));
            }
            self.entries.remove(&key);
        }
        for (key, dev) in wanted {
            if self.entries.get(&key) == Some(&dev) {
                continue;
            }
            match self.trie.insert(&Key::new(key.0, key.1), dev, 0) {
                Ok(()) => {
                    self.entries.insert(key, dev);
                }
                Err(error) => result = Err(MapsError::Aya(NAME, error)),
            }
        }
        result
    }
}

/// `/mnt/a/` for what lies below and `/mnt/a` with its NUL for itself; the root needs only `/`. None
/// for a path too long to match.
fn keys(point: &MountPoint) -> impl Iterator<Item = (u32, MountPath)> {
    let path = point.path.as_slice();
    let ends: &[&[u8]] = if path == b"/" { &[b""] } else { &[b"/", b"\0"] };
    ends.iter().filter_map(|end| {
        let mut data = MountPath {
            mnt_ns: point.mnt_ns,
            root: point.root.0,
            path: [0; MATCHED_PATH_BYTES],
        };
        let len = path.len() + end.len();
        let (start, rest) = data.path.get_mut(..len)?.split_at_mut(path.len());
        start.copy_from_slice(path);
        rest.copy_from_slice(end);
        let bits = u32::try_from((8 + len) * 8).ok()?;
        Some((bits, data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::superblock::Dev;

    fn keys_of(path: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let point = MountPoint {
            mnt_ns: 7,
            root: Dev(8),
            path: path.to_vec(),
            dev: Dev(9),
        };
        keys(&point)
            .map(|(bits, data)| {
                assert_eq!((data.mnt_ns, data.root), (7, 8));
                (bits, data.path[..=path.len()].to_vec())
            })
            .collect()
    }

    #[test]
    fn a_mount_point_matches_itself_and_what_is_below_but_not_its_neighbour() {
        assert_eq!(
            keys_of(b"/mnt/a"),
            [
                (15 * 8, b"/mnt/a/".to_vec()),
                (15 * 8, b"/mnt/a\0".to_vec())
            ]
        );
    }

    #[test]
    fn the_root_matches_everything_once() {
        assert_eq!(keys_of(b"/"), [(9 * 8, b"/\0".to_vec())]);
    }

    #[test]
    fn a_path_longer_than_a_key_is_left_to_the_daemon() {
        assert_eq!(keys_of(&[b'x'; MATCHED_PATH_BYTES]), []);
        assert_eq!(keys_of(&[b'x'; MATCHED_PATH_BYTES - 1]).len(), 2);
    }
}

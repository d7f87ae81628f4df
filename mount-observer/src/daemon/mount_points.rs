//! The mount points that failed paths are matched against, in the kernel: a longest-prefix trie.

use std::collections::BTreeMap;

use aya::maps::{
    Array, MapData,
    lpm_trie::{Key, LpmTrie},
};
use mount_observer_common::{MATCHED_PATH_BYTES, MountPath, MountTarget};

use super::maps::{Created, MapsError, typed};
use crate::input::MountPoint;

/// Entries of the trie; a mount point takes two.
pub(super) const ENTRIES_MAX: u32 = 65_536;

const NAME: &str = "MOUNT_POINTS";
const CHANGES: &str = "MOUNT_POINTS_CHANGES";

/// The trie, changed by its differences.
pub(super) struct MountPoints {
    trie: LpmTrie<MapData, MountPath, MountTarget>,
    /// What it holds: prefix length in bits and data, and what lies there.
    entries: BTreeMap<(u32, MountPath), MountTarget>,
    /// `MOUNT_POINTS_CHANGES`: voids what the programs remember of the trie.
    changes: Array<MapData, u64>,
    changed: u64,
}

impl MountPoints {
    pub(super) fn take(created: &mut Created) -> Result<Self, MapsError> {
        let trie = typed(NAME, LpmTrie::try_from(created.take(NAME)?))?;
        let changes = typed(CHANGES, Array::try_from(created.take(CHANGES)?))?;
        Ok(Self {
            trie,
            entries: BTreeMap::new(),
            changes,
            changed: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Replaces the set. What does not fit is left out: paths there are attributed by the daemon.
    pub(super) fn replace(&mut self, points: &[MountPoint]) -> Result<(), MapsError> {
        let wanted = entries(points);
        if wanted == self.entries {
            return Ok(());
        }
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
        for (key, target) in wanted {
            if self.entries.get(&key) == Some(&target) {
                continue;
            }
            match self.trie.insert(&Key::new(key.0, key.1), target, 0) {
                Ok(()) => {
                    self.entries.insert(key, target);
                }
                Err(error) => result = Err(MapsError::Aya(NAME, error)),
            }
        }
        // Only now: what the programs learn from here on is what the trie holds.
        self.changed += 1;
        if let Err(error) = self.changes.set(0, self.changed, 0) {
            result = Err(MapsError::Aya(CHANGES, error));
        }
        result
    }
}

/// The trie's entries for a set of mount points.
fn entries(points: &[MountPoint]) -> BTreeMap<(u32, MountPath), MountTarget> {
    let mut entries = BTreeMap::new();
    for point in points {
        for (key, prefix_bytes) in keys(point) {
            let target = MountTarget {
                dev: point.dev.0,
                prefix_bytes,
                is_leaf: 1,
            };
            entries.insert(key, target);
        }
    }
    mark_parents(&mut entries);
    entries
}

/// Clears `is_leaf` where another mount point lies below. Sorted by their path, whatever begins like
/// an entry follows it directly.
fn mark_parents(entries: &mut BTreeMap<(u32, MountPath), MountTarget>) {
    let mut sorted: Vec<_> = entries
        .iter()
        .map(|(key, target)| (*key, *target))
        .collect();
    sorted.sort_by_key(|(key, _)| key.1);
    for pair in sorted.windows(2) {
        let [(upper, target), (lower, _)] = pair else {
            continue;
        };
        let len = usize::from(target.prefix_bytes);
        let is_same_view = (upper.1.mnt_ns, upper.1.root) == (lower.1.mnt_ns, lower.1.root);
        if is_same_view
            && upper.1.path.get(..len) == lower.1.path.get(..len)
            && let Some(target) = entries.get_mut(upper)
        {
            target.is_leaf = 0;
        }
    }
}

/// `/mnt/a/` for what lies below and `/mnt/a` with its NUL for itself; the root needs only `/`. None
/// for a path too long to match.
fn keys(point: &MountPoint) -> impl Iterator<Item = ((u32, MountPath), u16)> {
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
        Some(((bits, data), u16::try_from(len).ok()?))
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
            .map(|((bits, data), _)| {
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

    #[test]
    fn only_a_mount_point_with_none_below_answers_for_all_paths_that_begin_so() {
        let point = |path: &[u8], mnt_ns| MountPoint {
            mnt_ns,
            root: Dev(8),
            path: path.to_vec(),
            dev: Dev(9),
        };
        let points = [
            point(b"/", 7),
            point(b"/mnt/a", 7),
            point(b"/mnt/a/below", 7),
            point(b"/mnt/ab", 7),
            point(b"/mnt/ab/elsewhere", 6),
        ];
        let leaves: Vec<_> = entries(&points)
            .iter()
            .filter(|(key, target)| target.is_leaf == 1 && key.1.mnt_ns == 7)
            .map(|(key, target)| {
                let prefix = &key.1.path[..usize::from(target.prefix_bytes)];
                String::from_utf8_lossy(prefix).into_owned()
            })
            .collect();
        assert_eq!(
            leaves,
            [
                "/mnt/a\0",
                "/mnt/ab\0",
                "/mnt/ab/",
                "/mnt/a/below\0",
                "/mnt/a/below/"
            ]
        );
    }
}

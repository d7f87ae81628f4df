//! The mount tables of all namespaces, and the superblocks they show.
//!
//! A mount is a label of a superblock: bind mounts and other namespaces add labels, not superblocks.

mod coverage;

pub(crate) use coverage::covered;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

use crate::{
    input::MountPoint,
    mountinfo::{self, Line},
    scope::Scope,
    snapshot::Mount,
    superblock::Dev,
    text,
    time::Mono,
    watched::Service,
};

/// Mount namespaces kept; a host with more than that many containers is told so.
pub const NAMESPACES_MAX: usize = 1024;

/// Entries of the kernel-side path attribution; the limit of its map.
pub const MOUNT_POINTS_MAX: usize = 16_384;

/// Mounts kept as labels of one superblock; the rest is only counted.
const LABELS_MAX: usize = 64;

/// Types of filesystems that stand on others.
const STACKED: [&[u8]; 3] = [b"overlay", b"ecryptfs", b"aufs"];

/// One mount namespace.
#[derive(Clone, Debug)]
struct Namespace {
    is_own: bool,
    /// When the newest table was read.
    read_at: Mono,
    /// Length and hash of the bytes the lines were read from.
    fingerprint: (usize, u64),
    lines: Vec<Line>,
    covered: Vec<bool>,
    /// Whether FUSE serves one of them.
    shows_fuse: bool,
    bad_lines: u64,
}

/// A superblock as the mount tables show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its number.
    pub dev: Dev,
    /// Filesystem type.
    pub fstype: String,
    /// Source.
    pub device: String,
    /// The mount point to call it by.
    pub mountpoint: String,
    /// Every mount, up to a bound; shared with the snapshots, which are made every second.
    pub mounts: Arc<[Mount]>,
    /// Namespace and mount id of each.
    pub mount_ids: BTreeSet<(u32, u32)>,
}

/// The mount tables.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    namespaces: BTreeMap<u32, Namespace>,
    namespaces_refused: u64,
    tables_cut: u64,
    mount_points_refused: u64,
}

/// What [`Mounts::update`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The table says something new.
    Changed,
    /// The same bytes as before.
    Same,
    /// Not taken: too many namespaces, or a table that was cut.
    Refused,
    /// Not taken: another reader's table was read later and came sooner.
    Stale,
}

impl Mounts {
    /// Takes the table of one namespace, whose reading began at `read_at`.
    pub fn update(&mut self, mnt_ns: u32, is_own: bool, read_at: Mono, bytes: &[u8]) -> Update {
        let fingerprint = fingerprint(bytes);
        if let Some(known) = self.namespaces.get_mut(&mnt_ns) {
            if read_at < known.read_at {
                return Update::Stale;
            }
            known.read_at = read_at;
            if known.fingerprint == fingerprint && known.is_own == is_own {
                return Update::Same;
            }
        } else if self.namespaces.len() >= NAMESPACES_MAX && !is_own {
            self.namespaces_refused += 1;
            return Update::Refused;
        }
        let parsed = mountinfo::parse(bytes);
        if parsed.is_cut && self.namespaces.contains_key(&mnt_ns) {
            // What a cut table does not show is not gone: the last whole one stays.
            self.tables_cut += 1;
            return Update::Refused;
        }
        let namespace = Namespace {
            is_own,
            read_at,
            fingerprint,
            covered: covered(&parsed.lines),
            shows_fuse: parsed.lines.iter().any(is_fuse),
            lines: parsed.lines,
            bad_lines: parsed.bad_lines,
        };
        self.namespaces.insert(mnt_ns, namespace);
        Update::Changed
    }

    /// Drops the namespaces that are not listed; says whether there was one.
    pub fn retain(&mut self, existing: &[u32]) -> bool {
        let before = self.namespaces.len();
        self.namespaces
            .retain(|mnt_ns, namespace| namespace.is_own || existing.contains(mnt_ns));
        self.namespaces.len() != before
    }

    /// The superblocks in scope, and how many others there are.
    pub fn superblocks(&self, scope: &Scope) -> (Vec<Mounted>, u64) {
        let mut all: BTreeMap<Dev, (bool, Vec<Labelled<'_>>)> = BTreeMap::new();
        for labelled in self.lines() {
            let entry = all.entry(labelled.line.dev).or_default();
            entry.0 = entry.0 || scope.contains(labelled.line);
            entry.1.push(labelled);
        }
        let total = all.len();
        let in_scope: Vec<_> = all
            .into_iter()
            .filter(|(_, (is_in_scope, _))| *is_in_scope)
            .filter_map(|(dev, (_, lines))| mounted(dev, lines))
            .collect();
        let others = u64::try_from(total - in_scope.len()).unwrap_or(u64::MAX);
        (in_scope, others)
    }

    /// Where to attribute paths to, in the kernel: every uncovered mount in scope, and those below
    /// one, so that the longer prefix wins although its own superblock is out of scope.
    pub fn mount_points(&mut self, in_scope: &BTreeSet<Dev>) -> Vec<MountPoint> {
        let mut points = Vec::new();
        for (&mnt_ns, namespace) in &self.namespaces {
            let uncovered = || namespace.uncovered();
            let Some(root) = uncovered().find(|line| line.mount_point == b"/") else {
                continue;
            };
            let watched: BTreeSet<&[u8]> = uncovered()
                .filter(|line| in_scope.contains(&line.dev))
                .map(|line| line.mount_point.as_slice())
                .collect();
            points.extend(
                uncovered()
                    .filter(|line| is_at_or_below(&line.mount_point, &watched))
                    .map(|line| MountPoint {
                        mnt_ns,
                        root: root.dev,
                        path: line.mount_point.clone(),
                        dev: line.dev,
                    }),
            );
        }
        points.sort();
        self.mount_points_refused =
            u64::try_from(points.len().saturating_sub(MOUNT_POINTS_MAX)).unwrap_or(u64::MAX);
        points.truncate(MOUNT_POINTS_MAX);
        points
    }

    /// The superblock a normalised absolute path lies on in a namespace.
    pub fn dev_of_path(&self, mnt_ns: u32, path: &[u8]) -> Option<Dev> {
        let namespace = self.namespaces.get(&mnt_ns)?;
        namespace
            .uncovered()
            .filter(|line| is_prefix(&line.mount_point, path))
            .max_by_key(|line| line.mount_point.len())
            .map(|line| line.dev)
    }

    /// Whether something is mounted on a path in the observer's own namespace.
    pub fn is_mounted_here(&self, path: &[u8]) -> bool {
        let mut own = self.own_lines();
        own.any(|line| line.mount_point == path)
    }

    /// The observer's own namespace, and the superblock of its root.
    pub fn own_root(&self) -> Option<(u32, Dev)> {
        let mut namespaces = self.namespaces.iter();
        let (&mnt_ns, own) = namespaces.find(|(_, namespace)| namespace.is_own)?;
        let root = own.uncovered().find(|line| line.mount_point == b"/")?;
        Some((mnt_ns, root.dev))
    }

    /// The superblock a path lies on in the observer's own namespace.
    pub fn own_dev_of(&self, path: &[u8]) -> Option<Dev> {
        let (mnt_ns, _) = self.own_root()?;
        self.dev_of_path(mnt_ns, path)
    }

    /// The path, in the observer's own namespace, of what lies there below the root of a filesystem.
    pub fn own_path(&self, dev: Dev, below: &[u8]) -> Option<Vec<u8>> {
        let mut own = self.own_lines();
        let whole = own.find(|line| line.dev == dev && line.root == b"/")?;
        let point = whole.mount_point.strip_suffix(b"/");
        let point = point.unwrap_or(&whole.mount_point);
        Some([point, b"/", below].concat())
    }

    fn own_lines(&self) -> impl Iterator<Item = &Line> {
        let own = self
            .namespaces
            .values()
            .filter(|namespace| namespace.is_own);
        own.flat_map(|namespace| &namespace.lines)
    }

    /// Whether a superblock, in scope or not, stands on others and passes on what they answer.
    pub fn is_stacked(&self, dev: Dev) -> bool {
        let found = self.lines().find(|labelled| labelled.line.dev == dev);
        found.is_some_and(|labelled| STACKED.iter().any(|known| labelled.line.fstype == *known))
    }

    /// `0:60 at /mnt/overlay`, in scope or not; the number alone of one that no table shows.
    pub fn name_of(&self, dev: Dev) -> String {
        let lines = self.lines().filter(|labelled| labelled.line.dev == dev);
        match mounted(dev, lines.collect()) {
            Some(mounted) => format!("{dev} at {}", mounted.mountpoint),
            None => dev.to_string(),
        }
    }

    /// Whether some FUSE superblock, in scope or not, has this number.
    pub fn has_fuse(&self, dev: Dev) -> bool {
        let lines = self.lines().filter(|labelled| labelled.line.dev == dev);
        lines
            .map(|labelled| text::lossy(&labelled.line.fstype))
            .any(|fstype| Service::of(&fstype) == Service::Fuse)
    }

    /// Whether there is any mount of FUSE, virtiofs included.
    pub fn shows_fuse(&self) -> bool {
        self.namespaces
            .values()
            .any(|namespace| namespace.shows_fuse)
    }

    /// Namespaces in which a superblock is mounted.
    pub fn namespaces_of(&self, dev: Dev) -> Vec<u32> {
        let shows = |namespace: &Namespace| namespace.lines.iter().any(|line| line.dev == dev);
        self.namespaces
            .iter()
            .filter(|(_, namespace)| shows(namespace))
            .map(|(&mnt_ns, _)| mnt_ns)
            .collect()
    }

    /// Mounts seen in all namespaces.
    pub fn len(&self) -> usize {
        self.namespaces.values().map(|n| n.lines.len()).sum()
    }

    /// Whether no mount was ever seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the observer's own namespace was read.
    pub fn has_own(&self) -> bool {
        self.namespaces.values().any(|namespace| namespace.is_own)
    }

    /// Lines of the current tables that could not be read.
    pub fn bad_lines(&self) -> u64 {
        self.namespaces.values().map(|n| n.bad_lines).sum()
    }

    /// What was refused: namespaces and mount points at their bounds, and tables that were cut.
    pub fn refused(&self) -> [(&'static str, u64); 3] {
        [
            ("mount_namespaces_refused", self.namespaces_refused),
            ("mount_points_refused", self.mount_points_refused),
            ("mount_tables_cut", self.tables_cut),
        ]
    }

    fn lines(&self) -> impl Iterator<Item = Labelled<'_>> {
        self.namespaces.iter().flat_map(|(&mnt_ns, namespace)| {
            let lines = namespace.lines.iter().zip(&namespace.covered);
            lines.map(move |(line, &is_covered)| Labelled {
                mnt_ns,
                is_own: namespace.is_own,
                line,
                is_covered,
            })
        })
    }
}

impl Namespace {
    fn uncovered(&self) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .zip(&self.covered)
            .filter(|(_, is_covered)| !**is_covered)
            .map(|(line, _)| line)
    }
}

/// Where a path lies, by the text of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The mount.
    pub line: Line,
    /// The same path below the root of the filesystem.
    pub in_filesystem: Vec<u8>,
}

/// The mount a normalised absolute path lies on; `None` where no mount of the table holds it.
pub fn place_of(table: &[u8], path: &[u8]) -> Option<Place> {
    let lines = mountinfo::parse(table).lines;
    let covered = covered(&lines);
    let uncovered = lines.into_iter().zip(covered);
    let holding =
        uncovered.filter(|(line, is_covered)| !is_covered && is_prefix(&line.mount_point, path));
    let (line, _) = holding.max_by_key(|(line, _)| line.mount_point.len())?;
    let below = path.strip_prefix(line.mount_point.as_slice())?;
    let below = below.strip_prefix(b"/").unwrap_or(below);
    let root = line.root.strip_suffix(b"/").unwrap_or(&line.root);
    let in_filesystem = [root, b"/", below].concat();
    Some(Place {
        line,
        in_filesystem,
    })
}

/// A line and where it was read.
#[derive(Clone, Copy)]
struct Labelled<'a> {
    mnt_ns: u32,
    is_own: bool,
    line: &'a Line,
    is_covered: bool,
}

fn is_fuse(line: &Line) -> bool {
    Service::of(&text::lossy(&line.fstype)) != Service::Kernel
}

/// The best label first: in the observer's own namespace, reachable, short.
fn mounted(dev: Dev, mut lines: Vec<Labelled<'_>>) -> Option<Mounted> {
    lines.sort_by_key(|labelled| {
        let point = &labelled.line.mount_point;
        (!labelled.is_own, labelled.is_covered, point.len(), point)
    });
    let first = lines.first()?;
    Some(Mounted {
        dev,
        fstype: text::lossy(&first.line.fstype),
        device: text::lossy(&first.line.source),
        mountpoint: text::lossy(&first.line.mount_point),
        mount_ids: lines.iter().map(|l| (l.mnt_ns, l.line.mount_id)).collect(),
        mounts: lines.iter().take(LABELS_MAX).map(mount).collect(),
    })
}

fn mount(labelled: &Labelled<'_>) -> Mount {
    let line = labelled.line;
    Mount {
        mount_point: text::lossy(&line.mount_point),
        mount_point_escaped: text::escaped(&line.mount_point),
        root: text::lossy(&line.root),
        mount_namespace: labelled.mnt_ns,
        is_own_namespace: labelled.is_own,
        mount_id: line.mount_id,
        is_covered: labelled.is_covered,
        options: text::lossy(&line.options),
    }
}

/// Whether a path is one of `points` or lies below one.
fn is_at_or_below(path: &[u8], points: &BTreeSet<&[u8]>) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let mut prefixes = ends.filter_map(|(end, _)| path.get(..end.max(1)));
    points.contains(path) || prefixes.any(|prefix| points.contains(prefix))
}

/// Whether `path` is `point` or lies below it.
fn is_prefix(point: &[u8], path: &[u8]) -> bool {
    point == b"/"
        || path
            .strip_prefix(point)
            .is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
}

/// Enough to tell whether a table changed: 64 bits of `SipHash` with fixed keys, and the length.
fn fingerprint(bytes: &[u8]) -> (usize, u64) {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    (bytes.len(), hasher.finish())
}

#[cfg(test)]
mod tests;

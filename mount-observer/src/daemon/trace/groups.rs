//! Which control groups the filter of a trace names, looked up in their filesystem: no other is asked.
//!
//! A group's number is that of its directory (`cgroup_id`, `include/linux/cgroup.h`, v5.10: the id of
//! the kernfs node, which is the inode's number where `ino_t` has 64 bits).

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
    thread,
    time::Duration,
};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};
use tokio::sync::mpsc;

use crate::{
    daemon::{confine, mountinfo as table, run::RunError},
    mountinfo, text,
    trace::{Filter, Matcher},
};

/// How often it is looked whether there are others: what a group did before it was found is not shown.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Groups looked at in one go; what a host has beyond is left out, and said to be.
const GROUPS_MAX: usize = 65_536;
/// Levels below the root (`cgroup.max.depth` has no bound of its own).
const DEPTH_MAX: usize = 64;

/// The groups that were found, from a thread that goes on looking.
#[derive(Debug)]
pub(super) struct Groups(mpsc::Receiver<Found>);

/// What was found so far.
#[derive(Debug)]
pub(super) struct Found {
    /// The numbers of the groups that the filter names.
    pub(super) groups: Vec<u64>,
    /// Whether there are more groups than are looked at.
    pub(super) is_cut: bool,
}

impl Groups {
    /// Opens the filesystem and starts looking; `None` where no group is named.
    pub(super) fn find(filter: &Filter) -> Result<Option<Self>, RunError> {
        if !filter.asks_for_groups() {
            return Ok(None);
        }
        let matcher = Matcher::new(filter)?;
        let root = root().map_err(|error| {
            RunError::System(
                "find the control groups of version 2, which this filter needs",
                error,
            )
        })?;
        let (sender, found) = mpsc::channel(1);
        let run = move || {
            // Without, it only keeps more than it uses. Files it goes on reading.
            confine::give_up_capabilities().ok();
            look_for_ever(&root, &matcher, &sender);
        };
        let started = thread::Builder::new().name("groups".to_owned()).spawn(run);
        started.map_err(|error| RunError::System("start a thread", error))?;
        Ok(Some(Self(found)))
    }

    /// All that were found so far, whenever there are others.
    pub(super) async fn next(&mut self) -> Found {
        match self.0.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }
}

/// The root of the hierarchy, by the mount table's text.
fn root() -> io::Result<OwnedFd> {
    let table = table::read_own()?;
    let lines = mountinfo::parse(&table.bytes).lines;
    let is_it = |line: &&mountinfo::Line| line.fstype == b"cgroup2" && line.root == b"/";
    let line = lines.iter().find(is_it);
    let line = line.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "none is mounted"))?;
    let path = Path::new(OsStr::from_bytes(&line.mount_point));
    Ok(openat(CWD, path, directory(), Mode::empty())?)
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn look_for_ever(root: &OwnedFd, matcher: &Matcher, sender: &mpsc::Sender<Found>) {
    let mut known = BTreeSet::new();
    let mut told = None;
    loop {
        let mut left = GROUPS_MAX;
        if let Ok(stat) = fstat(root)
            && matcher.admits_group("")
        {
            known.insert(stat.st_ino);
        }
        // What is gone meanwhile is gone; the rest of it is seen the next time.
        look(root, "", matcher, (DEPTH_MAX, &mut left), &mut known).ok();
        let is_cut = left == 0;
        if told != Some((known.len(), is_cut)) {
            told = Some((known.len(), is_cut));
            let groups = known.iter().copied().collect();
            if sender.blocking_send(Found { groups, is_cut }).is_err() {
                return;
            }
        }
        thread::park_timeout(LOOK_EVERY);
    }
}

fn look(
    at: &OwnedFd,
    path: &str,
    matcher: &Matcher,
    (depth, left): (usize, &mut usize),
    found: &mut BTreeSet<u64>,
) -> io::Result<()> {
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() != FileType::Directory || name == b"." || name == b".." {
            continue;
        }
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        let path = format!("{path}/{}", text::lossy(name));
        if matcher.admits_group(&path) {
            found.insert(entry.ino());
        }
        if let (Some(depth), Ok(below)) = (
            depth.checked_sub(1),
            openat(at, entry.file_name(), directory(), Mode::empty()),
        ) {
            look(&below, &path, matcher, (depth, left), found).ok();
        }
    }
    Ok(())
}

//! Data at risk: what was being written when a file system failed, and whether that came to an end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{text, time::Wall};

/// Entries kept of one superblock: a writer with hundreds of files open, and what it lost. 512 x some
/// 400 B = 200 KiB for a superblock in trouble, nothing for the others.
pub const ENTRIES_MAX: usize = 512;

/// Something that may not have reached its file, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRisk {
    /// What was asked: a FUSE request (`WRITE`), a system call (`rename`), or `open` for a file that was
    /// open for writing.
    pub operation: String,
    /// What became of it.
    pub why: Why,
    /// The failure's name, `EIO`.
    #[serde(default)]
    pub errno: Option<String>,
    /// The path, or for a request that names one the file's name alone; escaped by [`text::escaped`].
    #[serde(default)]
    pub path: Option<String>,
    /// The FUSE node: the file, or for a request that names one the directory.
    #[serde(default)]
    pub nodeid: Option<u64>,
    /// Who: the process, in the initial pid namespace.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its name.
    #[serde(default)]
    pub comm: Option<String>,
    /// The first byte concerned. Of a file that is open: where its writer stands.
    #[serde(default)]
    pub offset: Option<u64>,
    /// How many bytes. Of a file that is open: its size as the kernel knows it.
    #[serde(default)]
    pub length: Option<u64>,
    /// When that became of it; of what was going on at the end, when it was looked at.
    pub at_unix_ns: Wall,
}

/// What became of something that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The server answered with a failure.
    Failed,
    /// The connection ended before there was an answer.
    Aborted,
    /// The connection had ended before it was asked.
    Refused,
    /// There was no answer when the superblock was seen last.
    InFlight,
    /// It landed on the filesystem below a mount point whose mount was missing, and the next mount hides
    /// it.
    Underneath,
    /// The file was open for writing: what its writer had not written yet, and what was not written back.
    OpenForWriting,
}

impl Why {
    /// For a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::InFlight => "in flight at the end",
            Self::Underneath => "underneath, where the mount is missing",
            Self::OpenForWriting => "open for writing at the end",
        }
    }
}

impl fmt::Display for AtRisk {
    /// `/srv/a.gz: WRITE failed with EIO, bytes 4096 to 8191, by writer[12]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.nodeid) {
            (Some(path), _) => write!(f, "{path}: ")?,
            (None, Some(nodeid)) => write!(f, "(node {nodeid}): ")?,
            (None, None) => f.write_str("(file not known): ")?,
        }
        if self.why == Why::OpenForWriting {
            f.write_str(self.why.text())?;
        } else {
            write!(f, "{} {}", self.operation, self.why.text())?;
        }
        if let Some(errno) = &self.errno {
            write!(f, " with {errno}")?;
        }
        match (self.why, self.offset, self.length) {
            (Why::OpenForWriting, Some(offset), _) => write!(f, " at byte {offset}")?,
            (_, Some(offset), Some(length)) if length > 0 => {
                let last = offset.saturating_add(length - 1);
                write!(f, ", bytes {offset} to {last}")?;
            }
            _ => {}
        }
        if let Some(pid) = self.pid {
            let comm = text::escaped(self.comm.as_deref().unwrap_or_default().as_bytes());
            write!(f, ", by {comm}[{pid}]")?;
        }
        Ok(())
    }
}

/// What is at risk on one superblock, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRiskList {
    /// As it was found; what repeats is there once, as it was last.
    pub entries: Vec<AtRisk>,
    /// What did not fit, here or on its way out of the kernel.
    pub dropped: u64,
    /// When all open files were last looked through; `None` when they were not, so that the list holds
    /// only requests.
    #[serde(default)]
    pub looked_unix_ns: Option<Wall>,
}

impl AtRiskList {
    /// Whether nothing is, or nothing is known to be.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0
    }

    /// Adds an entry; one that says the same as one before takes its place. The file of a node that is
    /// known to be open is known.
    pub fn add(&mut self, mut entry: AtRisk) {
        if entry.path.is_none() {
            entry.path = self.open_path(entry.nodeid);
        }
        let is_room = self.entries.len() < ENTRIES_MAX;
        let mut known = self.entries.iter_mut();
        match known.find(|known| known.is_same_as(&entry)) {
            Some(known) => {
                entry.path = entry.path.or(known.path.take());
                *known = entry;
            }
            None if is_room => self.entries.push(entry),
            None => self.dropped += 1,
        }
    }

    fn open_path(&self, nodeid: Option<u64>) -> Option<String> {
        let is_it = |entry: &&AtRisk| {
            entry.why == Why::OpenForWriting && nodeid.is_some() && entry.nodeid == nodeid
        };
        self.entries.iter().find(is_it)?.path.clone()
    }

    /// Takes the files that a look found, in place of those of an earlier one.
    pub fn replace_open(&mut self, at: Wall, open: impl IntoIterator<Item = AtRisk>) {
        self.entries
            .retain(|known| known.why != Why::OpenForWriting);
        self.add_open(at, open);
    }

    /// Takes the files that a look found. What an earlier one found was open then, whatever became of it.
    pub fn add_open(&mut self, at: Wall, open: impl IntoIterator<Item = AtRisk>) {
        self.looked_unix_ns = Some(at);
        for entry in open {
            self.add(entry);
        }
    }

    /// Forgets what became of it before then: of another trouble than the one that begins.
    pub fn forget_before(&mut self, at: Wall) {
        self.entries.retain(|entry| entry.at_unix_ns >= at);
        self.dropped = 0;
    }

    /// Whether something of this node is at risk.
    pub fn concerns(&self, nodeid: u64) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.nodeid == Some(nodeid))
    }

    /// Gives entries that know only their node the path of that node.
    pub fn name_node(&mut self, nodeid: u64, path: &str) {
        let is_nameless =
            |entry: &&mut AtRisk| entry.path.is_none() && entry.nodeid == Some(nodeid);
        for entry in self.entries.iter_mut().filter(is_nameless) {
            entry.path = Some(path.to_owned());
        }
    }
}

impl AtRisk {
    fn is_same_as<'a>(&'a self, other: &'a Self) -> bool {
        let key = |entry: &Self| {
            (
                entry.why,
                entry.nodeid,
                entry.pid,
                entry.offset,
                entry.length,
            )
        };
        let words = |entry: &'a Self| (&entry.operation, &entry.errno);
        let is_same_path = match (&self.path, &other.path) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        key(self) == key(other) && words(self) == words(other) && is_same_path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64) -> AtRisk {
        AtRisk {
            operation: "WRITE".to_owned(),
            why: Why::Failed,
            errno: Some("EIO".to_owned()),
            path: None,
            nodeid: Some(7),
            pid: Some(12),
            comm: Some("wri\nter".to_owned()),
            offset: Some(offset),
            length: Some(4096),
            at_unix_ns: Wall(1),
        }
    }

    #[test]
    fn a_line_says_what_is_known() {
        let mut list = AtRiskList::default();
        list.add(write(4096));
        let line = "(node 7): WRITE failed with EIO, bytes 4096 to 8191, by wri\\x0ater[12]";
        assert_eq!(list.entries[0].to_string(), line);
        list.name_node(7, "/srv/a");
        assert!(list.entries[0].to_string().starts_with("/srv/a: WRITE"));
        let open = AtRisk {
            why: Why::OpenForWriting,
            errno: None,
            ..write(10)
        };
        let line = "(node 7): open for writing at the end at byte 10, by wri\\x0ater[12]";
        assert_eq!(open.to_string(), line);
    }

    #[test]
    fn what_repeats_is_there_once_and_what_does_not_fit_is_counted() {
        let mut list = AtRiskList::default();
        for _ in 0..3 {
            list.add(write(0));
        }
        assert_eq!((list.entries.len(), list.dropped), (1, 0));
        for index in 1..=ENTRIES_MAX {
            list.add(write(4096 * u64::try_from(index).unwrap()));
        }
        assert_eq!((list.entries.len(), list.dropped), (ENTRIES_MAX, 1));
    }

    #[test]
    fn a_node_that_got_its_name_is_not_told_again_without() {
        let mut list = AtRiskList::default();
        list.add(write(0));
        list.name_node(7, "/srv/a");
        list.add(write(0));
        let paths: Vec<_> = list.entries.iter().map(|entry| &entry.path).collect();
        assert_eq!(paths, [&Some("/srv/a".to_owned())]);
    }

    #[test]
    fn it_reads_back_what_it_wrote() {
        let mut list = AtRiskList::default();
        list.add(write(0));
        let json = serde_json::to_string(&list).unwrap();
        assert!(json.contains("\"why\":\"failed\""), "{json}");
        assert_eq!(serde_json::from_str::<AtRiskList>(&json).unwrap(), list);
    }
}

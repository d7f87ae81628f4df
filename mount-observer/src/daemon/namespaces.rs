//! Mount namespaces other than the observer's: found by reading the link `/proc/PID/ns/mnt` of every
//! process, never entered, and never held open (an open table keeps the namespace alive).

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlink, readlinkat};

use super::mountinfo::{self, OwnTable, Table};
use crate::input::Input;

/// Namespaces followed at a time besides the own; the observer keeps no more, and is told how many
/// processes live in the others.
const NAMESPACES_MAX: usize = crate::mounts::NAMESPACES_MAX - 1;
/// Told of processes beyond the bound.
const LEFT_OUT: &str = "processes in mount namespaces beyond the bound";
/// Told of processes whose namespace we may not ask for.
const DENIED: &str = "process(es) whose mount namespace may not be read: needs CAP_SYS_PTRACE";

/// Processes whose table is looked at because their namespace may not be asked for: without the
/// capability they are many, and a table can be long.
const REFUSED_MAX: usize = 16;

/// What is known of the mount namespaces.
#[derive(Debug)]
pub struct Namespaces {
    own: Arc<OwnTable>,
    known: BTreeMap<u32, Known>,
    left_out: u64,
    denied: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The process its table is read from.
    pid: u32,
    /// Hash of the table last handed on.
    table: u64,
}

impl Namespaces {
    /// Knows only the own namespace.
    pub fn new(own: Arc<OwnTable>) -> Self {
        Self {
            own,
            known: BTreeMap::new(),
            left_out: 0,
            denied: 0,
        }
    }

    /// Looks at every process: one link each, and one table per namespace. Hands on the list of
    /// namespaces, and the tables that differ from the last time.
    pub fn scan(&mut self) -> io::Result<Vec<Input>> {
        let found = self.find()?;
        self.known
            .retain(|namespace, _| found.contains_key(namespace));
        for (&namespace, pids) in &found {
            let known = self.known.entry(namespace).or_default();
            if !pids.contains(&known.pid) {
                known.pid = representative(pids);
            }
        }
        // First those that exist: what has gone makes room for what is new.
        let all = found
            .keys()
            .copied()
            .chain([self.own.namespace()])
            .collect();
        let unseen = |what, count| Input::Unseen { what, count };
        let mut inputs = vec![
            Input::Namespaces(all),
            unseen(LEFT_OUT, self.left_out),
            unseen(DENIED, self.denied),
        ];
        for (&namespace, known) in &mut self.known {
            let Some(read) = read(namespace, known.pid) else {
                // The process is gone or moved on; another one is chosen at the next scan.
                known.pid = 0;
                continue;
            };
            let hash = hash(&read.bytes);
            if hash != known.table {
                known.table = hash;
                inputs.push(table(namespace, read));
            }
        }
        Ok(inputs)
    }

    /// The process to read each namespace's table from.
    pub fn representatives(&self) -> BTreeMap<u32, u32> {
        self.known
            .iter()
            .map(|(&namespace, known)| (namespace, known.pid))
            .collect()
    }

    /// The processes of each namespace other than the own, in the order of `/proc`.
    fn find(&mut self) -> io::Result<BTreeMap<u32, Vec<u32>>> {
        let proc = openat(
            CWD,
            "/proc",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        // It may have made itself a namespace, in which nothing is observed.
        let myself = readlink("/proc/self", Vec::new())?;
        self.left_out = 0;
        let mut refused = Vec::new();
        let mut link = Vec::new();
        for entry in Dir::read_from(&proc)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if name == &*myself {
                continue;
            }
            let namespace = match namespace_of(&proc, pid, &mut link) {
                Ok(Some(namespace)) if namespace != self.own.namespace() => namespace,
                Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                    refused.push(pid);
                    continue;
                }
                // The own, or a process that has gone.
                Ok(_) | Err(_) => continue,
            };
            let room = found.len() < NAMESPACES_MAX;
            match found.get_mut(&namespace) {
                Some(pids) => pids.push(pid),
                None if room => drop(found.insert(namespace, vec![pid])),
                None => self.left_out += 1,
            }
        }
        let own = self.own.read()?.bytes;
        let known = in_known_namespaces(own, &refused, &found);
        self.denied = count(refused.len()) - count(known);
        Ok(found)
    }
}

/// How many of the first processes whose namespace may not be asked for live in one we see anyway:
/// our own, or one that another process led to.
///
/// A mount table, unlike the link, is open to all (`mounts_open_common`, `fs/proc_namespace.c`,
/// v6.18), and a mount id belongs to one mount in one namespace only.
fn in_known_namespaces(own: Vec<u8>, refused: &[u32], found: &BTreeMap<u32, Vec<u32>>) -> usize {
    if refused.is_empty() {
        return 0;
    }
    let others = found
        .values()
        .take(REFUSED_MAX)
        .filter_map(|pids| pids.first());
    let tables: Vec<_> = [own].into_iter().chain(others.map(table_of)).collect();
    let lines = tables
        .iter()
        .flat_map(|table| table.split(|&byte| byte == b'\n'));
    let ids: BTreeSet<_> = lines.filter_map(mount_id).collect();
    let is_known = |pid: &&u32| mount_id(&table_of(pid)).is_some_and(|id| ids.contains(id));
    refused.iter().take(REFUSED_MAX).filter(is_known).count()
}

/// The mount table of a process; empty when it has gone.
fn table_of(process: impl std::fmt::Display) -> Vec<u8> {
    let table = mountinfo::read(&format!("/proc/{process}/mountinfo"));
    table.map(|table| table.bytes).unwrap_or_default()
}

/// The first field of a line.
fn mount_id(line: &[u8]) -> Option<&[u8]> {
    line.split(|&byte| byte == b' ')
        .next()
        .filter(|id| !id.is_empty())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Reads the tables of some namespaces now, the own among them.
pub fn read_now(
    namespaces: &[u32],
    own: &OwnTable,
    representatives: &BTreeMap<u32, u32>,
) -> Vec<Input> {
    let mut inputs = Vec::new();
    for &namespace in namespaces {
        if namespace == own.namespace() {
            inputs.extend(own.read().ok().map(|table| own_table(namespace, table)));
        } else if let Some(&pid) = representatives.get(&namespace) {
            inputs.extend(read(namespace, pid).map(|read| table(namespace, read)));
        }
    }
    inputs
}

/// The own table as an input.
pub fn own_table(own: u32, table: Table) -> Input {
    Input::Mountinfo {
        mnt_ns: own,
        is_own: true,
        read_at: table.read_at,
        bytes: table.bytes,
    }
}

fn table(mnt_ns: u32, table: Table) -> Input {
    Input::Mountinfo {
        mnt_ns,
        is_own: false,
        read_at: table.read_at,
        bytes: table.bytes,
    }
}

/// The lowest process whose root is the namespace's: a chrooted one sees only part of the table.
/// The link is read, not followed.
fn representative(pids: &[u32]) -> u32 {
    let sees_all = |pid: &&u32| {
        readlink(format!("/proc/{pid}/root"), Vec::new()).is_ok_and(|root| root.as_bytes() == b"/")
    };
    pids.iter()
        .find(sees_all)
        .or(pids.first())
        .copied()
        .unwrap_or(0)
}

/// The table of a namespace; `None` when the process left it meanwhile.
fn read(namespace: u32, pid: u32) -> Option<Table> {
    let table = mountinfo::read(&format!("/proc/{pid}/mountinfo")).ok()?;
    let is_still_there = mountinfo::namespace_of(&pid.to_string()).ok() == Some(namespace);
    (is_still_there && !table.bytes.is_empty()).then_some(table)
}

fn namespace_of(proc: &OwnedFd, pid: u32, link: &mut Vec<u8>) -> rustix::io::Result<Option<u32>> {
    let path = format!("{pid}/ns/mnt");
    let found = readlinkat(proc, path, std::mem::take(link))?;
    let namespace = mountinfo::parse_namespace(found.as_bytes());
    *link = found.into_bytes();
    Ok(namespace)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_another_own_namespace_this_one_is_foreign_and_read_once() {
        let here = mountinfo::namespace_of("self").unwrap();
        let mut namespaces = Namespaces::new(OwnTable::of_namespace(1));
        let tables = |inputs: Vec<Input>| -> Vec<u32> {
            inputs
                .into_iter()
                .filter_map(|input| {
                    let Input::Mountinfo { mnt_ns, .. } = input else {
                        return None;
                    };
                    Some(mnt_ns)
                })
                .collect()
        };
        let inputs = namespaces.scan().unwrap();
        // What has gone makes room first.
        assert!(matches!(inputs.first(), Some(Input::Namespaces(_))));
        assert!(tables(inputs).contains(&here));
        assert!(namespaces.representatives().contains_key(&here));
        assert_eq!(
            namespaces.known.get(&here).map(|known| known.table == 0),
            Some(false)
        );
    }

    /// Own processes stand for those that may not be asked.
    #[test]
    fn a_process_with_our_mounts_lives_in_our_namespace_and_one_that_is_gone_does_not() {
        let own = std::process::id();
        assert_eq!(
            in_known_namespaces(table_of("self"), &[own, u32::MAX], &BTreeMap::new()),
            1
        );
        assert_eq!(
            mount_id(b"34 1 254:0 / / rw - ext4 /dev/vda rw"),
            Some(&b"34"[..])
        );
        assert_eq!(mount_id(b""), None);
    }
}

//! Which operations a trace shows.
//!
//! All criteria that are given must hold; of several values of one, any. [`Matcher::admits`] is the
//! authority: the kernel side may let more through, never less. Sampling alone is its own.

use std::{collections::BTreeSet, num::NonZero, time::Duration};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use mount_observer_common::{Op, TRACE_ERRNO_REST, TRACE_FUSE_REST};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{errno::Errno, operation::Operation};

/// Bytes of a task's name, without the NUL (`TASK_COMM_LEN`, `include/linux/sched.h`): the kernel cuts
/// longer ones.
const COMM_MAX: usize = 15;

/// Names told as near to one that is none.
const NEAREST_MAX: usize = 4;

/// What a trace is to show; the default shows everything in scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Mount points, as globs in which `*` also matches `/`: of a superblock, any of its mounts.
    pub mounts: Vec<String>,
    /// Filesystem types, as globs.
    pub fstypes: Vec<String>,
    /// Processes.
    pub pids: Vec<u32>,
    /// Names of processes, as globs; cut to 15 bytes, as the kernel cuts them.
    pub comms: Vec<String>,
    /// Control groups of version 2, as globs over the path below its root; what is below one belongs
    /// to it.
    pub cgroups: Vec<String>,
    /// systemd units, as globs (`nginx.service`).
    pub units: Vec<String>,
    /// Containers: their number or how it begins, 4 digits at least.
    pub containers: Vec<String>,
    /// Operations by the name that the trace shows (`LOOKUP`, `newfstatat`).
    pub operations: Vec<String>,
    /// Errors.
    pub errnos: Vec<Errno>,
    /// Only what failed.
    pub only_failed: bool,
    /// Only what took, or has waited, at least as long.
    pub min_latency: Option<Duration>,
    /// One of this many of the operations that all else admits.
    pub sample: NonZero<u32>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            mounts: Vec::new(),
            fstypes: Vec::new(),
            pids: Vec::new(),
            comms: Vec::new(),
            cgroups: Vec::new(),
            units: Vec::new(),
            containers: Vec::new(),
            operations: Vec::new(),
            errnos: Vec::new(),
            only_failed: false,
            min_latency: None,
            sample: NonZero::<u32>::MIN,
        }
    }
}

/// A filter that cannot be meant.
#[derive(Debug, Error)]
pub enum FilterError {
    /// No glob.
    #[error("{pattern:?} is no pattern")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: globset::Error,
    },
    /// No operation has this name.
    #[error("no operation is called {name:?}; {}", nearest(.near))]
    Operation {
        /// The name.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// No error has this name.
    #[error("no error is called {name:?}; {}", nearest(.near))]
    Errno {
        /// The name.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// Not enough of a container's number.
    #[error(
        "{name:?} is no container: its number in hexadecimal is wanted, or at least the first 4 digits"
    )]
    Container {
        /// The text.
        name: String,
    },
}

fn nearest(near: &[String]) -> String {
    if near.is_empty() {
        "FUSE and NFS have names in capitals (LOOKUP, READ), system calls in small letters (statx)"
            .to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    }
}

/// One operation, ended or not, as the filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Process.
    pub pid: u32,
    /// Its name.
    pub comm: &'a str,
    /// Whether its control group is one the filter names; `None` where not known.
    pub is_in_group: Option<bool>,
    /// What was asked; `None` where not known.
    pub operation: Option<Operation>,
    /// How it ended; `None` for a success, and for what has not ended.
    pub errno: Option<Errno>,
    /// How long it took, or has waited; `None` where not known.
    pub latency: Option<Duration>,
}

/// A filter, compiled.
#[derive(Clone, Debug)]
pub struct Matcher {
    filter: Filter,
    mounts: GlobSet,
    fstypes: GlobSet,
    comms: GlobSet,
    cgroups: GlobSet,
    units: GlobSet,
    operations: BTreeSet<Operation>,
}

impl Filter {
    /// Whether every superblock in scope is shown.
    pub fn names_no_mount(&self) -> bool {
        self.mounts.is_empty() && self.fstypes.is_empty()
    }

    /// Whether control groups decide.
    pub fn asks_for_groups(&self) -> bool {
        !(self.cgroups.is_empty() && self.units.is_empty() && self.containers.is_empty())
    }

    /// The names of processes as the kernel has them, if none is a pattern; `None` where the kernel
    /// side cannot decide.
    pub fn exact_comms(&self) -> Option<Vec<&str>> {
        let is_pattern = |comm: &String| comm.contains(['*', '?', '[', ']', '{', '}', '\\']);
        if self.comms.iter().any(is_pattern) {
            return None;
        }
        Some(self.comms.iter().map(|comm| cut(comm)).collect())
    }

    /// Whether the kernel side takes one of so many: where nothing else is left to user space, so that
    /// both take it of what all else admits. Who asked, and how long it took, the kernel side does not
    /// always know, and admits then.
    pub fn is_sampled_in_kernel(&self) -> bool {
        let asks_who = !self.pids.is_empty() || !self.comms.is_empty() || self.asks_for_groups();
        let is_named = |Operation(op): &Operation| match op {
            Op::Fuse(opcode) => u32::from(*opcode) < TRACE_FUSE_REST,
            Op::Syscall(_) => true,
            Op::Nfs(_) => false,
        };
        let operations = self.operation_set().unwrap_or_default();
        let mut errnos = self.errnos.iter();
        !asks_who
            && self.min_latency.is_none()
            && operations.iter().all(is_named)
            && errnos.all(|errno| u32::from(errno.0) < TRACE_ERRNO_REST)
            && (self.mounts.is_empty() || self.fstypes.is_empty())
    }

    /// The operations it names, of every family that has one of that name; empty for all.
    pub fn operation_set(&self) -> Result<BTreeSet<Operation>, FilterError> {
        let mut operations = BTreeSet::new();
        for name in &self.operations {
            let before = operations.len();
            operations.extend(Operation::all_of_name(name));
            if operations.len() == before && Operation::from_name(name).is_none() {
                return Err(FilterError::Operation {
                    near: near(name, Operation::names()),
                    name: name.clone(),
                });
            }
        }
        Ok(operations)
    }
}

impl Matcher {
    /// Compiles.
    pub fn new(filter: &Filter) -> Result<Self, FilterError> {
        let is_number =
            |name: &String| name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(name) = filter.containers.iter().find(|name| !is_number(name)) {
            return Err(FilterError::Container { name: name.clone() });
        }
        let comms: Vec<String> = filter
            .comms
            .iter()
            .map(|comm| cut(comm).to_owned())
            .collect();
        Ok(Self {
            mounts: compile(&filter.mounts)?,
            fstypes: compile(&filter.fstypes)?,
            comms: compile(&comms)?,
            cgroups: compile(&filter.cgroups)?,
            units: compile(&filter.units)?,
            operations: filter.operation_set()?,
            filter: filter.clone(),
        })
    }

    /// What it was made from.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether operations on a superblock are shown; of its mount points, any decides.
    pub fn admits_superblock<'a>(
        &self,
        fstype: &str,
        mut mount_points: impl Iterator<Item = &'a str>,
    ) -> bool {
        (self.filter.fstypes.is_empty() || self.fstypes.is_match(fstype))
            && (self.filter.mounts.is_empty() || mount_points.any(|point| self.names_mount(point)))
    }

    /// Whether a mount point is one that the filter names.
    pub fn names_mount(&self, mount_point: &str) -> bool {
        self.mounts.is_match(mount_point)
    }

    /// Whether an operation that has ended is shown.
    pub fn admits(&self, subject: &Subject<'_>) -> bool {
        let is_failure_wanted = !self.filter.only_failed || subject.errno.is_some();
        let is_errno_wanted = self.filter.errnos.is_empty()
            || subject
                .errno
                .is_some_and(|errno| self.filter.errnos.contains(&errno));
        is_failure_wanted && is_errno_wanted && self.admits_unended(subject)
    }

    /// Whether an operation that has not ended is shown: how it will end is not asked.
    pub fn admits_unended(&self, subject: &Subject<'_>) -> bool {
        let filter = &self.filter;
        let is_operation = |operation: Operation| self.operations.contains(&operation);
        (filter.pids.is_empty() || filter.pids.contains(&subject.pid))
            && (filter.comms.is_empty() || self.comms.is_match(cut(subject.comm)))
            && (!filter.asks_for_groups() || subject.is_in_group == Some(true))
            && (self.operations.is_empty() || subject.operation.is_some_and(is_operation))
            && filter
                .min_latency
                .is_none_or(|least| subject.latency.is_some_and(|latency| latency >= least))
    }

    /// Whether nothing is asked of how an operation ends.
    pub fn shows_unended(&self) -> bool {
        !self.filter.only_failed && self.filter.errnos.is_empty()
    }

    /// Whether a control group of version 2, by its path below the root, is one that the filter names
    /// or lies below one.
    pub fn admits_group(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        let ends = path.match_indices('/').map(|(end, _)| end);
        let mut prefixes = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        let is_named = |prefix: &str| {
            self.cgroups.is_match(prefix) || self.cgroups.is_match(format!("/{prefix}"))
        };
        let mut parts = path.split('/');
        prefixes.any(is_named)
            || parts.any(|part| self.units.is_match(part) || self.is_container(part))
    }

    fn is_container(&self, part: &str) -> bool {
        let Some(number) = crate::units::container_number(part) else {
            return false;
        };
        let mut wanted = self.filter.containers.iter();
        wanted.any(|wanted| number.starts_with(&wanted.to_ascii_lowercase()))
    }
}

/// Reads the name or the number of an error.
pub fn errno(text: &str) -> Result<Errno, FilterError> {
    Errno::from_name(text).ok_or_else(|| FilterError::Errno {
        name: text.to_owned(),
        near: near(&text.to_ascii_uppercase(), Errno::names()),
    })
}

/// The names most like one that is none; the same in other letters first.
fn near(name: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    let wanted = name.to_ascii_lowercase();
    let likeness = |known: &String| strsim::jaro_winkler(&wanted, &known.to_ascii_lowercase());
    let known: BTreeSet<String> = all.collect();
    let mut known: Vec<(f64, String)> = known
        .into_iter()
        .map(|known| (likeness(&known), known))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .collect();
    known.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    known.truncate(NEAREST_MAX);
    known.into_iter().map(|(_, name)| name).collect()
}

/// A process's name as the kernel keeps it.
fn cut(comm: &str) -> &str {
    comm.get(..comm.floor_char_boundary(COMM_MAX))
        .unwrap_or(comm)
}

fn compile(patterns: &[String]) -> Result<GlobSet, FilterError> {
    let mut set = GlobSetBuilder::new();
    let error = |pattern: &str, source| FilterError::Pattern {
        pattern: pattern.to_owned(),
        source,
    };
    let mut last = "";
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).build();
        set.add(glob.map_err(|source| error(pattern, source))?);
        last = pattern;
    }
    set.build().map_err(|source| error(last, source))
}

#[cfg(test)]
mod tests;

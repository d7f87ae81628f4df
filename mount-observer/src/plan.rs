//! Which programs are attached where, decided from what the kernel offers: never from its version.
//!
//! Every probe has its candidates in order of preference, each with the reason it was chosen or
//! refused. The shell tries the candidates that are left until one attaches.

use std::collections::{BTreeMap, BTreeSet};

use mount_observer_common::ABSENT;

use crate::config::StatxMode;

mod ways;

use ways::{Way, ways};

/// What this kernel offers and what we are allowed, gathered without loading anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFacts {
    /// `uname -r`, for people only.
    pub release: String,
    /// Whether `/sys/kernel/btf/vmlinux` could be read and parsed.
    pub has_btf: bool,
    /// Tracepoints by the names of their `btf_trace_*` types in BTF.
    pub tracepoints: BTreeSet<String>,
    /// Iterator targets by the names of their `bpf_iter_*` functions in BTF.
    pub iterators: BTreeSet<String>,
    /// Offsets by the name of the global they go to; `ABSENT` where the field does not exist.
    pub offsets: BTreeMap<&'static str, u32>,
    /// What the kernel is locked down to.
    pub lockdown: Lockdown,
    /// Effective capabilities, one bit each (`include/uapi/linux/capability.h`).
    pub capabilities: u64,
    /// Whether tracefs is mounted. Only classic tracepoints need it.
    pub has_tracefs: bool,
    /// Where fusectl is mounted.
    pub fusectl: Option<Vec<u8>>,
    /// Whether `/proc/kallsyms` shows addresses.
    pub has_symbols: bool,
}

/// `/sys/kernel/security/lockdown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lockdown {
    /// Nothing is locked down, or the kernel knows no lockdown.
    #[default]
    None,
    /// Changing the kernel is refused.
    Integrity,
    /// Reading it is refused too: `bpf_probe_read_kernel` does not exist.
    Confidentiality,
}

/// `CAP_SYS_ADMIN`, which includes the next two.
pub const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_PERFMON`: tracing programs (5.8).
pub const CAP_PERFMON: u32 = 38;
/// `CAP_BPF`: maps, programs (5.8).
pub const CAP_BPF: u32 = 39;

impl KernelFacts {
    /// Whether a capability is in the effective set.
    pub fn has_capability(&self, capability: u32) -> bool {
        self.capabilities & 1_u64.checked_shl(capability).unwrap_or(0) != 0
    }

    /// The capabilities that loading needs and that are missing; either alone includes the other two.
    pub fn missing_capabilities(&self) -> Vec<&'static str> {
        if self.has_capability(CAP_SYS_ADMIN) {
            return Vec::new();
        }
        [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
            .into_iter()
            .filter(|&(number, _)| !self.has_capability(number))
            .map(|(_, name)| name)
            .collect()
    }

    fn has_field(&self, name: &str) -> bool {
        self.offsets
            .get(name)
            .is_some_and(|&offset| offset != ABSENT)
    }

    /// Of several ways through the kernel's structures, the one whose first field exists, as in the
    /// programs; the last when none does.
    fn variant<'a>(&self, variants: &'a [&'static [&'static str]]) -> &'a [&'static str] {
        let starts = |names: &&&'a [&'static str]| {
            let first = names.first();
            first.is_some_and(|name| self.has_field(name))
        };
        let found = variants.iter().find(starts).or(variants.last());
        found.copied().unwrap_or_default()
    }

    fn lacks<'a>(&self, mut names: impl Iterator<Item = &'a &'static str>) -> Option<String> {
        names
            .find(|name| !self.has_field(name))
            .map(|name| format!("the kernel's BTF has no field for {name}"))
    }
}

/// One thing we want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// A FUSE request is sent.
    FuseSend,
    /// A FUSE request ends.
    FuseEnd,
    /// A known FUSE server exits.
    ServerExit,
    /// Who holds `/dev/fuse`, and what is queued there.
    Holders,
    /// Who is blocked.
    Tasks,
    /// The state of one connection.
    ConnectionCheck,
    /// Path syscalls start.
    PathEnter,
    /// Path syscalls end.
    PathExit,
}

impl Probe {
    /// Every probe, in the order they are attached: what reports before what starts something.
    pub const ALL: [Self; 8] = [
        Self::ConnectionCheck,
        Self::Holders,
        Self::Tasks,
        Self::FuseEnd,
        Self::FuseSend,
        Self::ServerExit,
        Self::PathExit,
        Self::PathEnter,
    ];

    /// The name metrics and `check` show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FuseSend => "fuse_send",
            Self::FuseEnd => "fuse_end",
            Self::ServerExit => "server_exit",
            Self::Holders => "holders",
            Self::Tasks => "tasks",
            Self::ConnectionCheck => "connection_check",
            Self::PathEnter => "path_enter",
            Self::PathExit => "path_exit",
        }
    }
}

/// How a program gets to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// A tracepoint with typed arguments; needs the BTF of what defines it in `vmlinux`.
    TpBtf,
    /// A tracepoint with untyped arguments; serves modules too.
    RawTracepoint,
    /// A BPF iterator.
    Iterator,
    /// Run by us, never attached.
    TestRun,
}

impl Mechanism {
    /// The name metrics and `check` show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTracepoint => "raw_tp",
            Self::Iterator => "iterator",
            Self::TestRun => "test_run",
        }
    }
}

/// One way to serve a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How the program gets to run.
    pub mechanism: Mechanism,
    /// The program in the object.
    pub program: &'static str,
    /// The tracepoint, or the iterator's target.
    pub target: &'static str,
    /// Why it is tried.
    pub reason: &'static str,
}

/// What becomes of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// Which.
    pub probe: Probe,
    /// False when the configuration does not ask for it: its absence is not a loss.
    pub is_wanted: bool,
    /// What to try, best first; empty when not wanted or not possible.
    pub candidates: Vec<Candidate>,
    /// What is not tried, and why.
    pub refused: Vec<(Mechanism, String)>,
}

/// All probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPlan {
    /// In the order they are attached.
    pub probes: Vec<PlannedProbe>,
    /// How path syscalls are observed: never `Auto`.
    pub statx: StatxMode,
    /// Why.
    pub statx_reason: &'static str,
}

impl AttachPlan {
    /// Wanted probes for which nothing can be tried.
    pub fn impossible(&self) -> impl Iterator<Item = &PlannedProbe> {
        self.probes
            .iter()
            .filter(|planned| planned.is_wanted && planned.candidates.is_empty())
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One look at what is there: iterators only, nothing is attached.
    Look,
    /// A watch, with path syscalls observed as configured.
    Watch(StatxMode),
}

/// Decides.
pub fn plan(facts: &KernelFacts, purpose: Purpose) -> AttachPlan {
    let (statx, statx_reason) = match purpose {
        Purpose::Look => (StatxMode::Off, "a single look attaches nothing"),
        Purpose::Watch(mode) => resolve_statx(mode),
    };
    let probes = Probe::ALL
        .into_iter()
        .map(|probe| {
            let mut planned = PlannedProbe {
                probe,
                is_wanted: is_wanted(probe, purpose, statx),
                candidates: Vec::new(),
                refused: Vec::new(),
            };
            if planned.is_wanted {
                for way in ways(probe, statx) {
                    match refusal(facts, &way) {
                        None => planned.candidates.push(way.candidate),
                        Some(reason) => planned.refused.push((way.candidate.mechanism, reason)),
                    }
                }
            }
            planned
        })
        .collect();
    AttachPlan {
        probes,
        statx,
        statx_reason,
    }
}

/// `auto` becomes what this tier of probes carries cheaply.
fn resolve_statx(mode: StatxMode) -> (StatxMode, &'static str) {
    match mode {
        StatxMode::Auto => (
            StatxMode::Errors,
            "auto: only syscall tracepoints are available, and timing with them taxes every syscall",
        ),
        StatxMode::Full => (mode, "configured: every path syscall is timed"),
        StatxMode::Errors => (mode, "configured: failures only"),
        StatxMode::Off => (mode, "configured: path syscalls are not observed"),
    }
}

fn is_wanted(probe: Probe, purpose: Purpose, statx: StatxMode) -> bool {
    match probe {
        Probe::Holders | Probe::Tasks | Probe::ConnectionCheck => true,
        Probe::FuseSend | Probe::FuseEnd | Probe::ServerExit => purpose != Purpose::Look,
        Probe::PathEnter => statx == StatxMode::Full,
        Probe::PathExit => statx != StatxMode::Off,
    }
}

/// Why a way cannot be tried; `None` when it can.
fn refusal(facts: &KernelFacts, way: &Way) -> Option<String> {
    let missing = facts.missing_capabilities();
    if !missing.is_empty() {
        return Some(format!("needs {}", missing.join(" and ")));
    }
    if !facts.has_btf {
        return Some("needs /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)".to_owned());
    }
    let names = way.offsets.iter().chain(facts.variant(way.variants));
    if let Some(reason) = facts.lacks(names) {
        return Some(reason);
    }
    let target = way.candidate.target;
    match way.candidate.mechanism {
        Mechanism::TpBtf if !facts.tracepoints.contains(target) => {
            Some(format!("vmlinux has no tracepoint {target}"))
        }
        Mechanism::Iterator if !facts.iterators.contains(target) => {
            Some(format!("the kernel has no iterator {target}"))
        }
        Mechanism::RawTracepoint | Mechanism::TestRun
            if facts.lockdown == Lockdown::Confidentiality =>
        {
            Some("lockdown=confidentiality refuses bpf_probe_read_kernel".to_owned())
        }
        Mechanism::TpBtf | Mechanism::Iterator | Mechanism::RawTracepoint | Mechanism::TestRun => {
            None
        }
    }
}

#[cfg(test)]
mod tests;

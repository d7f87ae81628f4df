//! Which programs are attached where, decided from what the kernel offers: never from its version.
//!
//! Every probe has its candidates in order of preference, each with the reason it was chosen or
//! refused. The shell tries the candidates that are left until one attaches.

mod facts;
mod probe;
mod refusal;
mod ways;

use std::collections::BTreeSet;

pub use facts::{
    CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE, Function, Fuse, KernelFacts, Lockdown,
    Owner,
};
pub use probe::{Mechanism, Probe};

use mount_observer_common::{CAST, HELPER_SWITCHES};

use crate::{config::StatxMode, sight};
use refusal::refusal;
use ways::{Way, ways};

/// One way to serve a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How the program gets to run.
    pub mechanism: Mechanism,
    /// The program in the object.
    pub program: &'static str,
    /// The tracepoint, the function, or the iterator's target.
    pub target: &'static str,
    /// The module whose BTF describes the function; `None` where the kernel's own does, or where
    /// none is needed.
    pub module: Owner,
    /// The probe without which it would leave behind what it opens.
    pub after: Option<Probe>,
    /// Why it is tried.
    pub reason: String,
    /// What is not seen in this way.
    pub lacks: Option<&'static str>,
}

impl Candidate {
    /// How and where: `fexit vfs_statx`.
    pub fn name(&self) -> String {
        let name = format!("{} {}", self.mechanism.name(), self.target);
        name.trim_end().to_owned()
    }
}

/// What becomes of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// Which.
    pub probe: Probe,
    /// Why it is not wanted, in which case its absence is no loss; `None` when it is.
    pub unwanted: Option<&'static str>,
    /// Every way, best first; empty when not wanted.
    pub alternatives: Vec<Alternative>,
}

/// One way to serve a probe, decided upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// It is tried in its turn.
    Tried(Candidate),
    /// It is not, and why.
    Refused(Mechanism, String),
}

impl PlannedProbe {
    /// False when there is nothing to see or nobody asks: its absence is not a loss.
    pub const fn is_wanted(&self) -> bool {
        self.unwanted.is_none()
    }

    /// Whether there is nothing to see yet.
    pub fn is_resting(&self) -> bool {
        matches!(self.unwanted, Some(NO_FUSE | NO_NFS | NOTHING_MISSING))
    }

    /// What is tried, best first.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.alternatives
            .iter()
            .filter_map(|alternative| match alternative {
                Alternative::Tried(candidate) => Some(candidate),
                Alternative::Refused(..) => None,
            })
    }

    /// What is not tried, and why.
    pub fn refused(&self) -> impl Iterator<Item = (Mechanism, &str)> {
        self.alternatives
            .iter()
            .filter_map(|alternative| match alternative {
                Alternative::Refused(mechanism, reason) => Some((*mechanism, reason.as_str())),
                Alternative::Tried(_) => None,
            })
    }
}

/// All probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPlan {
    /// In the order they are attached.
    pub probes: Vec<PlannedProbe>,
    /// How path syscalls are observed where they return: never `Auto`.
    pub statx: StatxMode,
}

impl AttachPlan {
    /// Whether some program may follow a call from where it begins.
    pub fn follows_calls(&self) -> bool {
        self.probes.iter().any(|planned| {
            matches!(
                planned.probe,
                Probe::StatEnter | Probe::AttrEnter | Probe::WalkEnd | Probe::PathEnter
            ) && planned.candidates().next().is_some()
        })
    }

    /// Whether a probe has nothing to try, and a kprobe might serve it on a function that BTF does not
    /// describe.
    pub fn misses_kprobes(&self) -> bool {
        self.probes.iter().any(|planned| {
            let mut refused = planned.refused();
            planned.is_wanted()
                && planned.candidates().next().is_none()
                && refused.any(|(mechanism, _)| mechanism == Mechanism::KProbe)
        })
    }

    /// Probes for which nothing can be tried although silence says nothing without them.
    pub fn impossible(&self) -> impl Iterator<Item = &PlannedProbe> {
        self.probes.iter().filter(|planned| {
            planned.is_wanted()
                && planned.candidates().next().is_none()
                && sight::blinds(planned.probe.name()).anything()
        })
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One look at what is there: iterators only, nothing is attached.
    Look,
    /// A watch, with path syscalls observed as configured.
    Watch(StatxMode),
    /// What is written where a mount is missing, beside a watch.
    Underneath,
}

/// The names whose existence the plan asks about: the facts hold no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Functions, as BTF and as kallsyms list them.
    pub functions: BTreeSet<&'static str>,
    /// Tracepoints.
    pub tracepoints: BTreeSet<&'static str>,
    /// Iterator targets.
    pub iterators: BTreeSet<&'static str>,
    /// Helpers.
    pub helpers: BTreeSet<&'static str>,
}

/// What the plan asks about.
pub fn questions() -> Questions {
    let mut questions = Questions::default();
    questions
        .helpers
        .extend(switched_helpers().map(|(_, helper)| helper));
    for statx in [StatxMode::Errors, StatxMode::Full] {
        for way in Probe::ALL.iter().flat_map(|&probe| ways(probe, statx)) {
            let names = match way.mechanism {
                Mechanism::TpBtf | Mechanism::RawTracepoint => &mut questions.tracepoints,
                Mechanism::FEntry | Mechanism::FExit | Mechanism::KProbe => {
                    &mut questions.functions
                }
                Mechanism::Iterator => &mut questions.iterators,
                Mechanism::TestRun => continue,
            };
            names.insert(way.target);
            questions.helpers.extend(way.helpers);
            if way.casts {
                questions.functions.insert(CAST.0);
            }
        }
    }
    questions
}

/// Helpers that programs do without where they are missing: the global that says so, and the helper
/// as the facts name it.
pub fn switched_helpers() -> impl Iterator<Item = (&'static str, &'static str)> {
    HELPER_SWITCHES.iter().map(|switch| {
        let helper = switch.helper.trim_start_matches("BPF_FUNC_");
        (switch.global, helper)
    })
}

/// Decides.
pub fn plan(facts: &KernelFacts, purpose: Purpose) -> AttachPlan {
    let mode = match purpose {
        Purpose::Look | Purpose::Underneath => StatxMode::Off,
        Purpose::Watch(mode) => mode,
    };
    // `auto` never means `full`: timing every path syscall taxes every syscall of the host.
    let statx = if mode == StatxMode::Auto {
        StatxMode::Errors
    } else {
        mode
    };
    let probes: Vec<PlannedProbe> = Probe::ALL
        .into_iter()
        .map(|probe| planned(facts, probe, unwanted(facts, probe, purpose, statx), statx))
        .collect();
    AttachPlan { probes, statx }
}

fn planned(
    facts: &KernelFacts,
    probe: Probe,
    unwanted: Option<&'static str>,
    statx: StatxMode,
) -> PlannedProbe {
    let mut planned = PlannedProbe {
        probe,
        unwanted,
        alternatives: Vec::new(),
    };
    if !planned.is_wanted() {
        return planned;
    }
    for way in ways(probe, statx) {
        planned.alternatives.push(match refusal(facts, &way) {
            None => Alternative::Tried(candidate(facts, &way)),
            Some(reason) => Alternative::Refused(way.mechanism, reason),
        });
    }
    planned
}

fn candidate(facts: &KernelFacts, way: &Way) -> Candidate {
    let described = facts.functions.get(way.target);
    let is_traced = matches!(way.mechanism, Mechanism::FEntry | Mechanism::FExit);
    let module = described
        .filter(|_| is_traced)
        .and_then(|function| function.module.clone());
    let mut reason = match &module {
        Some(module) => format!("{}, through the BTF of module {module}", way.reason),
        None => way.reason.to_owned(),
    };
    if way.mechanism == Mechanism::KProbe && described.is_none() {
        reason.push_str("; no BTF tells its arguments, they are assumed");
    }
    if way
        .fields(facts)
        .any(|field| facts.assumed.contains(*field))
    {
        reason.push_str("; layout of FUSE assumed");
    }
    Candidate {
        mechanism: way.mechanism,
        program: way.program,
        target: way.target,
        module,
        after: way.after,
        reason,
        lacks: way.lacks,
    }
}

/// Why path syscalls are observed as they are, once it is known whether stats are timed at their own
/// function.
pub const fn statx_reason(mode: StatxMode, is_stat_timed: bool) -> &'static str {
    match mode {
        StatxMode::Auto if is_stat_timed => {
            "auto: stat is timed at its function; of other path syscalls failures only, because timing them taxes every syscall"
        }
        StatxMode::Auto => {
            "auto: only syscall tracepoints are available, and timing with them taxes every syscall"
        }
        StatxMode::Full => "configured: every path syscall is timed",
        StatxMode::Errors => "configured: failures only",
        StatxMode::Off => "configured: path syscalls are not observed",
    }
}

const NOT_ASKED_FOR: &str = "not asked for";
const NO_FUSE: &str = "FUSE is not loaded: nothing to see until it is";
const NO_NFS: &str = "NFS is not loaded: nothing to see until something is mounted";
const NOTHING_MISSING: &str =
    "every mount that is expected is there: nothing to see until one is missing";

fn unwanted(
    facts: &KernelFacts,
    probe: Probe,
    purpose: Purpose,
    statx: StatxMode,
) -> Option<&'static str> {
    let is_asked_for = match probe {
        Probe::Holders | Probe::Tasks | Probe::ConnectionCheck => purpose != Purpose::Underneath,
        Probe::ShadowWrites => purpose != Purpose::Look,
        Probe::FuseSend
        | Probe::FuseEnd
        | Probe::FuseCall
        | Probe::FuseReturn
        | Probe::FuseBackground
        | Probe::ConnectionAbort
        | Probe::DeviceRelease
        | Probe::ServerExit
        | Probe::NfsEnd
        | Probe::NfsMounts
        | Probe::Files => matches!(purpose, Purpose::Watch(_)),
        Probe::StatEnter
        | Probe::StatExit
        | Probe::WalkEnd
        | Probe::AttrEnter
        | Probe::AttrExit
        | Probe::PathExit => statx != StatxMode::Off,
        Probe::PathEnter => statx == StatxMode::Full,
    };
    if !is_asked_for {
        Some(NOT_ASKED_FOR)
    } else if probe.is_fuse() && facts.fuse == Fuse::Absent && facts.has_btf {
        Some(NO_FUSE)
    } else if probe.is_nfs() && !facts.has_nfs {
        Some(NO_NFS)
    } else if probe == Probe::ShadowWrites && purpose != Purpose::Underneath {
        Some(NOTHING_MISSING)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

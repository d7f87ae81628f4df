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
    CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Function, Fuse, KernelFacts, Lockdown, Owner,
};
pub use probe::{Mechanism, Probe};

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
    /// Why it is tried.
    pub reason: String,
}

/// What becomes of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// Which.
    pub probe: Probe,
    /// Why it is not wanted, in which case its absence is no loss; `None` when it is.
    pub unwanted: Option<&'static str>,
    /// What to try, best first; empty when not wanted or not possible.
    pub candidates: Vec<Candidate>,
    /// What is not tried, and why.
    pub refused: Vec<(Mechanism, String)>,
}

impl PlannedProbe {
    /// False when there is nothing to see or nobody asks: its absence is not a loss.
    pub const fn is_wanted(&self) -> bool {
        self.unwanted.is_none()
    }

    /// What was refused, in one line; empty when nothing was.
    pub fn refusals(&self) -> String {
        let refusal = |(mechanism, reason): &(Mechanism, String)| -> String {
            format!("{}: {reason}", mechanism.name())
        };
        let refusals: Vec<String> = self.refused.iter().map(refusal).collect();
        refusals.join("; ")
    }
}

/// All probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPlan {
    /// In the order they are attached.
    pub probes: Vec<PlannedProbe>,
    /// How path syscalls are observed where they return: never `Auto`.
    pub statx: StatxMode,
    /// Why.
    pub statx_reason: &'static str,
}

impl AttachPlan {
    /// Probes for which nothing can be tried although silence says nothing without them.
    pub fn impossible(&self) -> impl Iterator<Item = &PlannedProbe> {
        self.probes.iter().filter(|planned| {
            planned.is_wanted()
                && planned.candidates.is_empty()
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
        }
    }
    questions
}

/// Decides.
pub fn plan(facts: &KernelFacts, purpose: Purpose) -> AttachPlan {
    let mode = match purpose {
        Purpose::Look => StatxMode::Off,
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
    AttachPlan {
        statx_reason: statx_reason(purpose, &probes),
        probes,
        statx,
    }
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
        candidates: Vec::new(),
        refused: Vec::new(),
    };
    if !planned.is_wanted() {
        return planned;
    }
    for way in ways(probe, statx) {
        match refusal(facts, &way) {
            None => planned.candidates.push(candidate(facts, &way)),
            Some(reason) => planned.refused.push((way.mechanism, reason)),
        }
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
        reason,
    }
}

/// Why path syscalls are observed as they are.
fn statx_reason(purpose: Purpose, probes: &[PlannedProbe]) -> &'static str {
    let is_stat_timed = probes.iter().any(|planned| {
        planned.probe == Probe::StatExit
            && (planned.candidates.iter()).any(|way| way.mechanism == Mechanism::FExit)
    });
    match purpose {
        Purpose::Look => "a single look attaches nothing",
        Purpose::Watch(StatxMode::Auto) if is_stat_timed => {
            "auto: stat is timed at its function; of other path syscalls failures only, because timing them taxes every syscall"
        }
        Purpose::Watch(StatxMode::Auto) => {
            "auto: only syscall tracepoints are available, and timing with them taxes every syscall"
        }
        Purpose::Watch(StatxMode::Full) => "configured: every path syscall is timed",
        Purpose::Watch(StatxMode::Errors) => "configured: failures only",
        Purpose::Watch(StatxMode::Off) => "configured: path syscalls are not observed",
    }
}

const NOT_ASKED_FOR: &str = "not asked for";
const NO_FUSE: &str = "FUSE is not loaded: nothing to see until it is";

fn unwanted(
    facts: &KernelFacts,
    probe: Probe,
    purpose: Purpose,
    statx: StatxMode,
) -> Option<&'static str> {
    let is_asked_for = match probe {
        Probe::Holders | Probe::Tasks | Probe::ConnectionCheck => true,
        Probe::FuseSend
        | Probe::FuseEnd
        | Probe::FuseCall
        | Probe::FuseReturn
        | Probe::FuseBackground
        | Probe::ConnectionAbort
        | Probe::DeviceRelease
        | Probe::ServerExit => purpose != Purpose::Look,
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
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

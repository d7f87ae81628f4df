//! Which programs are attached: the candidates of each probe in turn, until one works.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use crate::{
    daemon::{bpf, scan::ConnectionChecker},
    input::ProbeHealth,
    plan::{Alternative, Candidate, Mechanism, Owner, PlannedProbe, Probe},
};

/// Where a probe ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The probe.
    pub probe: Probe,
    /// How.
    pub mechanism: Mechanism,
    /// The program.
    pub program: &'static str,
    /// The function, the tracepoint or the iterator's target.
    pub target: &'static str,
    /// The module whose BTF was needed.
    pub module: Owner,
    /// Instructions the verifier went through; `None` before 5.16.
    pub verified_instructions: Option<u32>,
}

/// Probes, and what keeps them going.
#[derive(Debug, Default)]
pub struct Attached {
    /// What became of each probe.
    pub probes: Vec<ProbeHealth>,
    /// Where those are that work.
    pub attachments: Vec<Attachment>,
    /// The iterator over the holders of `/dev/fuse`.
    pub holders: Option<OwnedFd>,
    /// The iterator over tasks.
    pub tasks: Option<OwnedFd>,
    /// The iterator over files open for writing.
    pub files: Option<OwnedFd>,
    /// The check of single connections.
    pub checker: Option<ConnectionChecker>,
    /// The look at NFS superblocks.
    pub nfs_mounts: Option<OwnedFd>,
    /// The programs that run when something happens.
    pub programs: Vec<OwnedFd>,
}

impl Attached {
    /// Nothing, for these probes. Resting, they miss nothing as long as there is nothing to see.
    pub fn nothing(is_concerned: impl Fn(Probe) -> bool, why: &str, is_resting: bool) -> Self {
        let probes = Probe::ALL.into_iter().filter(|probe| is_concerned(*probe));
        let health = |probe: Probe| ProbeHealth {
            probe: probe.name(),
            kind: None,
            is_wanted: !is_resting,
            is_resting,
            reason: why.to_owned(),
            lacks: None,
        };
        Self {
            probes: probes.map(health).collect(),
            ..Self::default()
        }
    }

    /// Tries the alternatives in turn with `attach`, which loads and attaches one and hands out its
    /// program; the health says which one worked, and why none before it did.
    pub(super) fn attach(
        &mut self,
        planned: &PlannedProbe,
        mut attach: impl FnMut(&Candidate) -> Result<OwnedFd, AttachError>,
    ) {
        let mut health = ProbeHealth {
            probe: planned.probe.name(),
            kind: None,
            is_wanted: planned.is_wanted(),
            is_resting: planned.is_resting(),
            reason: String::new(),
            lacks: None,
        };
        let mut reasons: Vec<String> = Vec::new();
        reasons.extend(planned.unwanted.map(str::to_owned));
        for alternative in &planned.alternatives {
            let (way, refusal) = match alternative {
                Alternative::Refused(mechanism, reason) => {
                    (mechanism.name().to_owned(), reason.clone())
                }
                Alternative::Tried(candidate) => {
                    let tried = self
                        .may_follow(candidate)
                        .and_then(|()| attach(candidate))
                        .and_then(|program| self.keep(planned.probe, candidate, program));
                    match tried {
                        Ok(()) => {
                            health.kind = Some(candidate.mechanism.name());
                            reasons.insert(0, candidate.reason.clone());
                            health.lacks = candidate.lacks;
                            break;
                        }
                        Err(error) => (candidate.name(), error.in_one_line()),
                    }
                }
            };
            let reason = format!("{way}: {refusal}");
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        health.reason = reasons.join("; ");
        tracing::debug!(
            probe = health.probe,
            kind = health.kind,
            reason = health.reason,
            "a probe was tried"
        );
        self.probes.push(health);
    }

    /// Refuses a program whose counterpart is not attached.
    fn may_follow(&self, candidate: &Candidate) -> Result<(), AttachError> {
        let is_attached = |probe| self.attachments.iter().any(|found| found.probe == probe);
        match candidate.after {
            Some(probe) if !is_attached(probe) => Err(AttachError::Unclosed(probe.name())),
            Some(_) | None => Ok(()),
        }
    }

    /// Puts a program that works where it is used from.
    fn keep(
        &mut self,
        probe: Probe,
        candidate: &Candidate,
        program: OwnedFd,
    ) -> Result<(), AttachError> {
        let info = bpf::info_of(program.as_fd()).unwrap_or_default();
        match candidate.mechanism {
            Mechanism::Iterator => {
                let link = bpf::link_iterator(program.as_fd())?;
                let place = if probe == Probe::Holders {
                    &mut self.holders
                } else if probe == Probe::Files {
                    &mut self.files
                } else {
                    &mut self.tasks
                };
                *place = Some(link);
            }
            Mechanism::TestRun if probe == Probe::NfsMounts => self.nfs_mounts = Some(program),
            Mechanism::TestRun => self.checker = Some(ConnectionChecker { program }),
            Mechanism::TpBtf
            | Mechanism::RawTracepoint
            | Mechanism::FEntry
            | Mechanism::FExit
            | Mechanism::KProbe => self.programs.push(program),
        }
        self.attachments.push(Attachment {
            probe,
            mechanism: candidate.mechanism,
            program: candidate.program,
            target: candidate.target,
            module: candidate.module.clone(),
            verified_instructions: info.verified_instructions,
        });
        Ok(())
    }

    /// Whether a probe works in this way.
    pub(super) fn has(&self, probe: Probe, mechanism: Mechanism) -> bool {
        let mut attachments = self.attachments.iter();
        attachments.any(|found| found.probe == probe && found.mechanism == mechanism)
    }

    /// Adds what the other half of the programs attached; the probes end up in the plan's order.
    pub(super) fn extend(&mut self, other: Self) {
        self.probes.extend(other.probes);
        let order = |health: &ProbeHealth| {
            let mut probes = Probe::ALL.iter();
            probes.position(|probe| probe.name() == health.probe)
        };
        self.probes.sort_by_key(order);
        self.attachments.extend(other.attachments);
        self.attachments.sort_by_key(|found| {
            let mut probes = Probe::ALL.iter();
            probes.position(|probe| *probe == found.probe)
        });
        self.holders = other.holders.or(self.holders.take());
        self.tasks = other.tasks.or(self.tasks.take());
        self.files = other.files.or(self.files.take());
        self.checker = other.checker.or(self.checker.take());
        self.programs.extend(other.programs);
    }
}

/// Why one candidate did not work.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The object is not the one this was built with.
    #[error("the object has no such program")]
    Missing,
    /// Its target is not described.
    #[error("BTF has no {0}")]
    Undescribed(&'static str),
    /// What closes what it opens is not attached.
    #[error("without {0} nothing closes what it opens")]
    Unclosed(&'static str),
    /// Its target is in a module that cannot be looked into.
    #[error("cannot open the BTF of module {0}")]
    Module(String, #[source] io::Error),
    /// The kernel refused.
    #[error("refused")]
    Call(#[from] io::Error),
}

impl AttachError {
    /// The error and its causes in one line.
    fn in_one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(error.to_string().lines().next().unwrap_or_default());
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::{
        config::StatxMode,
        plan::{KernelFacts, Purpose, plan},
    };

    /// Facts of a kernel where a call of FUSE can be seen every way.
    const FACTS: &str = include_str!("../../../../tests/data/kernels/6.12.json");

    /// How the calls of FUSE end up where only these mechanisms work, and why.
    fn calls(works: impl Fn(Mechanism) -> bool) -> (Option<&'static str>, String) {
        let facts: KernelFacts = serde_json::from_str(FACTS).unwrap();
        let plan = plan(&facts, Purpose::Watch(StatxMode::Off));
        let mut attached = Attached::default();
        for planned in &plan.probes {
            attached.attach(planned, |candidate| {
                if works(candidate.mechanism) {
                    Ok(File::open("/dev/null")?.into())
                } else {
                    Err(AttachError::Missing)
                }
            });
        }
        let name = Probe::FuseCall.name();
        let found = attached.probes.into_iter().find(|end| end.probe == name);
        found.map(|end| (end.kind, end.reason)).unwrap()
    }

    #[test]
    fn a_call_of_fuse_is_not_opened_where_nothing_closes_it() {
        assert_eq!(calls(|_| true).0, Some("fentry"));
        let (kind, reason) = calls(|mechanism| mechanism == Mechanism::FEntry);
        assert_eq!(kind, None);
        let refused =
            "fentry __fuse_simple_request: without fuse_return nothing closes what it opens";
        assert!(reason.contains(refused), "{reason}");
    }

    #[test]
    fn what_knows_that_nothing_closes_it_stands_in() {
        let (kind, reason) = calls(|mechanism| mechanism != Mechanism::FExit);
        assert_eq!(kind, Some("kprobe"), "{reason}");
    }
}

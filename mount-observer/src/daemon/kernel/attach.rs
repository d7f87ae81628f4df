//! Attaches the programs: the candidates of each probe in turn, until one works.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe, ProgramError, RawTracePoint},
};

use super::LoadError;
use crate::{
    daemon::{bpf, scan::ConnectionChecker},
    input::ProbeHealth,
    plan::{AttachPlan, Candidate, Mechanism, PlannedProbe, Probe},
};

/// A loaded object whose probes are attached.
pub(super) struct Programs {
    pub(super) ebpf: Ebpf,
    /// What became of each probe.
    pub(super) probes: Vec<ProbeHealth>,
    pub(super) holders: Option<OwnedFd>,
    pub(super) tasks: Option<OwnedFd>,
    pub(super) checker: Option<ConnectionChecker>,
    /// The programs that run on a tracepoint.
    pub(super) attached: Vec<OwnedFd>,
}

/// Attaches what the plan says.
pub(super) fn attach_all(ebpf: Ebpf, plan: &AttachPlan) -> Result<Programs, LoadError> {
    let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    let mut programs = Programs {
        ebpf,
        probes: Vec::new(),
        holders: None,
        tasks: None,
        checker: None,
        attached: Vec::new(),
    };
    for planned in &plan.probes {
        let health = programs.attach(&btf, planned);
        programs.probes.push(health);
    }
    Ok(programs)
}

impl Programs {
    /// Tries the candidates in turn; the health says which one worked, or why none did.
    fn attach(&mut self, btf: &Btf, planned: &PlannedProbe) -> ProbeHealth {
        let mut health = ProbeHealth {
            probe: planned.probe.name(),
            kind: None,
            is_wanted: planned.is_wanted(),
            reason: planned.unwanted.unwrap_or_default().to_owned(),
        };
        let mut refused: Vec<String> = planned
            .refused
            .iter()
            .map(|(mechanism, reason)| format!("{}: {reason}", mechanism.name()))
            .collect();
        for candidate in &planned.candidates {
            match self.try_candidate(btf, planned.probe, candidate) {
                Ok(()) => {
                    health.kind = Some(candidate.mechanism.name());
                    health.reason.clone_from(&candidate.reason);
                    break;
                }
                Err(error) => {
                    refused.push(format!("{}: {}", candidate.mechanism.name(), chain(&error)));
                }
            }
        }
        if !refused.is_empty() {
            let separator = if health.reason.is_empty() { "" } else { "; " };
            health.reason = format!("{}{separator}{}", health.reason, refused.join("; "));
        }
        health
    }

    fn try_candidate(
        &mut self,
        btf: &Btf,
        probe: Probe,
        candidate: &Candidate,
    ) -> Result<(), AttachError> {
        if let Some(module) = &candidate.module {
            return Err(AttachError::Module(module.clone()));
        }
        let program = self
            .ebpf
            .program_mut(candidate.program)
            .ok_or(AttachError::Missing)?;
        match candidate.mechanism {
            Mechanism::TpBtf => {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(candidate.target, btf)?;
                program.attach()?;
                self.attached
                    .push(program.fd()?.as_fd().try_clone_to_owned()?);
            }
            Mechanism::RawTracepoint => {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load()?;
                program.attach(candidate.target)?;
                self.attached
                    .push(program.fd()?.as_fd().try_clone_to_owned()?);
            }
            Mechanism::FEntry => {
                let program: &mut FEntry = program.try_into()?;
                program.load(candidate.target, btf)?;
                program.attach()?;
                self.attached
                    .push(program.fd()?.as_fd().try_clone_to_owned()?);
            }
            Mechanism::FExit => {
                let program: &mut FExit = program.try_into()?;
                program.load(candidate.target, btf)?;
                program.attach()?;
                self.attached
                    .push(program.fd()?.as_fd().try_clone_to_owned()?);
            }
            Mechanism::KProbe => {
                let program: &mut KProbe = program.try_into()?;
                program.load()?;
                program.attach(candidate.target, 0)?;
                self.attached
                    .push(program.fd()?.as_fd().try_clone_to_owned()?);
            }
            Mechanism::Iterator => {
                let program: &mut Iter = program.try_into()?;
                program.load(candidate.target, btf)?;
                let link = bpf::link_iterator(program.fd()?.as_fd())?;
                let place = if probe == Probe::Holders {
                    &mut self.holders
                } else {
                    &mut self.tasks
                };
                *place = Some(link);
            }
            Mechanism::TestRun => {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load()?;
                let program = program.fd()?.as_fd().try_clone_to_owned()?;
                self.checker = Some(ConnectionChecker { program });
            }
        }
        Ok(())
    }
}

/// Why one candidate did not work.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("the object has no such program")]
    Missing,
    #[error("in module {0}")]
    Module(String),
    #[error("refused")]
    Program(#[from] ProgramError),
    #[error("refused")]
    Call(#[from] io::Error),
}

/// An error and its causes in one line, without the verifier's log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(error.to_string().lines().next().unwrap_or_default());
        cause = error.source();
    }
    text
}

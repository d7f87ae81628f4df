//! The programs that can serve each probe, where each goes, and what it takes for granted there.

mod fuse;
mod nfs;
mod vfs;

use super::{KernelFacts, Mechanism, Probe};
use crate::config::StatxMode;

/// One way to serve a probe, and what it cannot do without.
pub(super) struct Way {
    pub(super) mechanism: Mechanism,
    pub(super) program: &'static str,
    pub(super) target: &'static str,
    pub(super) reason: &'static str,
    /// Fields of the kernel's structures it reads, by their globals.
    pub(super) offsets: &'static [&'static str],
    /// One of these too: kernels differ in how one structure leads to another.
    pub(super) variants: &'static [&'static [&'static str]],
    /// The function as the program knows it.
    pub(super) prototype: Option<Prototype>,
    /// Helpers that not every kernel has, or not always.
    pub(super) helpers: &'static [&'static str],
    /// The probe that closes what it opens: one that is attached before it, or it is not tried.
    pub(super) after: Option<Probe>,
    /// Whether it takes addresses for pointers to FUSE's structures (`CAST`).
    pub(super) casts: bool,
    /// What is not seen in this way, although another way shows it.
    pub(super) lacks: Option<&'static str>,
    /// Whether the target is in a module that may describe nothing: whether it is there shows when it
    /// is tried.
    pub(super) is_found_by_trying: bool,
}

/// A function as a program knows it.
#[derive(Clone, Copy)]
pub(super) struct Prototype {
    /// In C, without `const`.
    pub(super) parameters: &'static [&'static str],
    pub(super) result: &'static str,
}

/// A type the program does not look at, and kernels disagree about.
pub(super) const ANY: &str = "?";

const fn way(
    mechanism: Mechanism,
    program: &'static str,
    target: &'static str,
    offsets: &'static [&'static str],
) -> Way {
    let (reason, helpers): (&str, &[&str]) = match mechanism {
        Mechanism::TpBtf => (
            "typed arguments: loads are checked at load time and cost nothing extra",
            &[],
        ),
        Mechanism::RawTracepoint => (
            "serves modules too; each field costs a bpf_probe_read_kernel",
            &["probe_read_kernel"],
        ),
        Mechanism::FEntry => ("at the function's entry, with typed arguments", &[]),
        Mechanism::FExit => ("at the function's exit, with its result", &[]),
        Mechanism::KProbe => (
            "a breakpoint at the function's entry; each field costs a bpf_probe_read_kernel",
            &["probe_read_kernel"],
        ),
        Mechanism::Iterator => ("no hook: runs when asked", &[]),
        Mechanism::TestRun => ("no hook: asks when needed", &["probe_read_kernel"]),
    };
    Way {
        mechanism,
        program,
        target,
        reason,
        offsets,
        variants: &[],
        prototype: None,
        helpers,
        after: None,
        casts: false,
        lacks: None,
        is_found_by_trying: false,
    }
}

impl Way {
    const fn with(self, variants: &'static [&'static [&'static str]]) -> Self {
        Self { variants, ..self }
    }

    const fn needing(self, helpers: &'static [&'static str]) -> Self {
        Self { helpers, ..self }
    }

    const fn casting(self) -> Self {
        Self {
            casts: true,
            helpers: &[],
            ..self
        }
    }

    const fn in_module(self) -> Self {
        Self {
            is_found_by_trying: true,
            ..self
        }
    }

    const fn on(self, prototype: Prototype) -> Self {
        Self {
            prototype: Some(prototype),
            ..self
        }
    }

    const fn after(self, probe: Probe) -> Self {
        Self {
            after: Some(probe),
            ..self
        }
    }

    /// The fields it reads on this kernel.
    pub(super) fn fields(
        &self,
        facts: &KernelFacts,
    ) -> impl Iterator<Item = &'static &'static str> {
        self.offsets.iter().chain(facts.variant(self.variants))
    }
}

/// The ways to serve a probe, best first.
pub(super) fn ways(probe: Probe, statx: StatxMode) -> Vec<Way> {
    match probe {
        Probe::FuseSend => fuse::send(),
        Probe::FuseEnd => fuse::end(),
        Probe::FuseCall => fuse::call(),
        Probe::FuseReturn => fuse::returned(),
        Probe::FuseBackground => fuse::background(),
        Probe::ConnectionAbort => fuse::abort(),
        Probe::DeviceRelease => fuse::release(),
        Probe::ServerExit => fuse::server_exit(),
        Probe::Holders => fuse::holders(),
        Probe::ConnectionCheck => fuse::connection_check(),
        Probe::NfsEnd => nfs::end(),
        Probe::NfsMounts => nfs::mounts(),
        Probe::Tasks => vfs::tasks(),
        Probe::StatEnter => vfs::stat_enter(),
        Probe::StatExit => vfs::stat_exit(),
        Probe::WalkEnd => vfs::walk_end(),
        Probe::AttrEnter => vfs::attr_enter(),
        Probe::AttrExit => vfs::attr_exit(),
        Probe::PathExit => vfs::path_exit(statx),
        Probe::PathEnter => vfs::path_enter(),
        Probe::Files => vfs::files(),
        Probe::ShadowWrites => vfs::shadow_writes(),
    }
}

//! Loads the eBPF object, attaches what the plan says, and hands out the parts: each has one owner
//! and none needs a lock. Nothing is pinned: when [`Attached`] is dropped, or the process dies, no
//! program is left in the kernel.

mod attach;
mod globals;
mod holds;
mod loader;
mod tables;

use std::{io, os::fd::OwnedFd, sync::Arc};

use aya::maps::{Array, HashMap};
use mount_observer_common::Settings;
use rustix::process::{Resource, Rlimit, setrlimit};

pub use attach::{AttachError, Attached, Attachment};
pub use loader::{Links, Loader, LoaderError, NfsPrograms};

use globals::Globals;
use loader::Prepared;

use super::{
    bpf,
    bpf_log::BpfLog,
    clock,
    facts::Gathered,
    heap,
    maps::{self, Created, KernelFilter, Maps, MapsError, Sizes, TraceFilterMap},
    ring::Ring,
    scan::{ConnectionChecker, Scanner},
    tick,
};
use crate::{
    config::BpfLogLevel,
    errno::Errno,
    input::ProbeHealth,
    plan::{AttachPlan, Fuse, KernelFacts, Mechanism, Probe},
};

/// The object, built by `cargo xtask build-ebpf` and committed: its provenance lies next to it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/assets/mount-observer.bpf.o"
));

/// Why nothing could be loaded at all. A single probe that fails is a [`ProbeHealth`] instead.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The privilege is missing.
    #[error("loading eBPF programs needs {0}")]
    Capabilities(String),
    /// A map was refused.
    #[error("cannot set up the maps")]
    Maps(#[from] MapsError),
    /// A program that only answers questions was refused.
    #[error("cannot load the program {0}")]
    Program(&'static str, #[source] AttachError),
    /// It did not answer.
    #[error("the program {0} did not answer")]
    Ask(&'static str, #[source] io::Error),
    /// The programs' messages cannot be read.
    #[error("cannot read the programs' own messages, which needs CAP_SYS_ADMIN")]
    Log(#[from] aya_log::Error),
    /// The programs could not be prepared.
    #[error("cannot prepare the programs")]
    Loader(#[from] LoaderError),
}

/// What the programs are told, and how large their maps are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Operations that take at least this many ns are counted as slow and leave a record.
    pub slow_ns: u64,
    /// Errno whose failures leave a record.
    pub recorded_errno: Vec<Errno>,
    /// Least severe level of the programs' own messages.
    pub log: BpfLogLevel,
    /// Bytes of the ring buffer, rounded up to a power of two of pages; `None` for the default.
    pub ring_bytes: Option<u32>,
    /// What every operation leaves a record of; `None` without a trace.
    pub trace: Option<TraceOptions>,
}

/// What a trace is to see.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// What the programs check.
    pub filter: KernelFilter,
    /// Bytes of the trace's own ring, rounded up to a power of two of pages; `None` for the default,
    /// 8 MiB: 49,000 requests.
    pub ring_bytes: Option<u32>,
}

impl TraceOptions {
    const RING_BYTES: u32 = 8 << 20;
}

/// The kernel side at work.
#[derive(Debug)]
pub struct Kernel {
    /// What became of each probe.
    pub probes: Vec<ProbeHealth>,
    /// Where those are that work.
    pub attachments: Vec<Attachment>,
    /// The records.
    pub ring: Ring,
    /// The records of a trace, where there is one.
    pub traces: Option<Ring>,
    /// Counters, requests in flight, watched sets.
    pub maps: Maps,
    /// The iterators.
    pub scanner: Scanner,
    /// The check of single connections.
    pub checker: Option<ConnectionChecker>,
    /// The observer's process number in the initial pid namespace.
    pub self_tgid: u32,
    /// Keeps the programs attached.
    pub attached: Links,
    /// The programs that look at FUSE, where FUSE is a module or not there yet.
    pub fuse: Option<FuseModule>,
    /// The programs that look at NFS.
    pub nfs: NfsPrograms,
    /// Loads what comes and goes again.
    pub loader: Arc<Loader>,
}

/// FUSE as a module.
#[derive(Debug)]
pub struct FuseModule {
    /// Keeps those attached that are.
    pub links: Links,
}

impl Kernel {
    /// Whether a probe is attached, in whatever way.
    pub fn has(&self, probe: Probe) -> bool {
        self.attachments.iter().any(|found| found.probe == probe)
    }

    /// Loads and attaches.
    pub fn load(plan: &AttachPlan, found: &Gathered, options: &Options) -> Result<Self, LoadError> {
        let facts = &found.facts;
        may_load(facts)?;
        if facts.charges_memlock {
            lift_memlock();
        }
        let cpus = aya::util::nr_cpus()
            .map_err(|(what, error)| LoadError::Maps(MapsError::Cpus(what, error)))?;
        let sizes = sizes(plan, options, cpus);
        let (loader, mut created, object) = Loader::new(Globals::new(options, facts), sizes)?;
        let mut prepared = loader.prepare(object, found)?;
        let who = Whoami::load(&mut prepared)?;
        let settings = who.settings(options, facts)?;
        tables::set_settings(&mut created, settings)?;
        let mut filter = TraceFilterMap::take(&mut created)?;
        if let Some(trace) = &options.trace {
            filter.set(&trace.filter)?;
        }
        let comes_and_goes = |probe: Probe| facts.fuse != Fuse::BuiltIn && probe.is_fuse();
        let stays = |probe: Probe| !comes_and_goes(probe) && !probe.is_nfs();
        let (mut attached, links) = prepared.attach_all(plan, stays);
        let nfs = loader.attach_nfs_of(&mut prepared, plan);
        let (mut nfs_half, nfs) = nfs.map_err(LoaderError::Call)?;
        let nfs_programs = std::mem::take(&mut nfs_half.programs);
        attached.extend(nfs_half);
        let (mut half, fuse_links) = prepared.attach_all(plan, comes_and_goes);
        let module_programs = std::mem::take(&mut half.programs);
        attached.extend(half);
        // Until now path syscalls were counted by none.
        let is_stat_counted = attached.has(Probe::StatExit, Mechanism::FExit);
        tables::set_syscalls(&mut created, is_stat_counted)?;
        let messages = messages(options, attached.programs.iter().chain(&module_programs))?;
        let mut maps = Maps::take(
            &mut created,
            settings,
            sizes,
            cpus,
            attached.programs,
            filter,
        )?;
        maps.replace_module_programs(module_programs)?;
        maps.replace_nfs_programs(nfs_programs)?;
        let ring = maps::typed("EVENTS", Ring::new(created.take("EVENTS")?, messages))?;
        let traces = traces(&mut created, options)?;
        let iterators = (attached.holders, attached.tasks, attached.files);
        let scanner = scanner(&mut created, iterators)?;
        heap::give_back();
        Ok(Self {
            probes: attached.probes,
            attachments: attached.attachments,
            ring,
            traces,
            maps,
            scanner,
            checker: attached.checker,
            self_tgid: settings.self_tgid,
            attached: links,
            fuse: (facts.fuse != Fuse::BuiltIn).then_some(FuseModule { links: fuse_links }),
            nfs,
            loader: Arc::new(loader),
        })
    }
}

/// How large the maps are to be.
fn sizes(plan: &AttachPlan, options: &Options, cpus: usize) -> Sizes {
    let mut sizes = Sizes::for_cpus(cpus);
    sizes.ring_bytes = options.ring_bytes.unwrap_or(sizes.ring_bytes);
    if let Some(trace) = &options.trace {
        sizes.trace_bytes = trace.ring_bytes.unwrap_or(TraceOptions::RING_BYTES);
    }
    if !plan.follows_calls() {
        sizes.calls = 1;
    }
    sizes
}

/// The reader of the programs' own messages, where asked for.
fn messages<'a>(
    options: &Options,
    programs: impl Iterator<Item = &'a OwnedFd>,
) -> Result<Option<BpfLog>, LoadError> {
    match options.log {
        BpfLogLevel::Off => Ok(None),
        BpfLogLevel::Warn | BpfLogLevel::Debug => Ok(Some(BpfLog::of(programs)?)),
    }
}

/// The ring of a trace, where there is one.
fn traces(created: &mut Created, options: &Options) -> Result<Option<Ring>, MapsError> {
    let ring = options.trace.as_ref().map(|_| {
        let ring = Ring::new(created.take("TRACES")?, None);
        maps::typed("TRACES", ring)
    });
    ring.transpose()
}

/// The iterators and what they are told before each run.
fn scanner(
    created: &mut Created,
    (holders, tasks, files): (Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>),
) -> Result<Scanner, MapsError> {
    let mode = maps::typed("SCAN_MODE", Array::try_from(created.take("SCAN_MODE")?))?;
    let asked = HashMap::try_from(created.take("FILES_ASKED")?);
    let asked = maps::typed("FILES_ASKED", asked)?;
    Ok(Scanner {
        holders,
        tasks,
        files,
        mode,
        asked,
    })
}

fn may_load(facts: &KernelFacts) -> Result<(), LoadError> {
    let missing = facts.missing_capabilities();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Capabilities(missing.join(" and ")))
    }
}

/// Maps are not limited; where that is not allowed the kernel says which one is too large.
fn lift_memlock() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::warn!(%error, "cannot raise the limit of locked memory, which maps count against");
    }
}

/// The program that says who and when it is.
struct Whoami(OwnedFd);

impl Whoami {
    const NAME: &'static str = "whoami";

    fn load(prepared: &mut Prepared<'_>) -> Result<Self, LoadError> {
        prepared
            .load_asked(Self::NAME)
            .map(Self)
            .map_err(|error| LoadError::Program(Self::NAME, error))
    }

    fn ask(&self, question: u64) -> Result<u32, LoadError> {
        bpf::ask(&self.0, [question, 0]).map_err(|error| LoadError::Ask(Self::NAME, error))
    }

    fn settings(&self, options: &Options, facts: &KernelFacts) -> Result<Settings, LoadError> {
        Ok(Settings {
            slow_ns: options.slow_ns,
            tick_ns: self.tick_ns()?,
            self_tgid: self.tgid()?,
            registers_offset: facts.registers_offset,
            pad: 0,
        })
    }

    fn tgid(&self) -> Result<u32, LoadError> {
        self.ask(0)
    }

    /// Nanoseconds of one jiffy; 0 when the kernel's tick rate cannot be told.
    fn tick_ns(&self) -> Result<u32, LoadError> {
        let low = u64::from(self.ask(1)?);
        let jiffies = u64::from(self.ask(2)?) << 32 | low;
        Ok(tick::tick_ns(jiffies, clock::now().mono.0).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_its_bit_and_unknown_ones_have_none() {
        let bits = Errno::bit_set(&[
            Errno::EIO,
            Errno::ECONNABORTED,
            Errno::ENOTCONN,
            Errno(4095),
        ]);
        assert_eq!(bits, [1 << 5, 1 << (103 - 64) | 1 << (107 - 64), 0]);
    }
}

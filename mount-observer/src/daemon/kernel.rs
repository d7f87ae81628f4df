//! Loads the eBPF object, attaches what the plan says, and hands out the parts: each has one owner
//! and none needs a lock. Nothing is pinned: when [`Attached`] is dropped, or the process dies, no
//! program is left in the kernel.

mod attach;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::Array,
    programs::{ProgramError, RawTracePoint},
};
use mount_observer_common::{CALLS_MAX, PathArguments, Settings, TextRange};

use attach::Programs;

use super::{
    bpf,
    bpf_log::{self, BpfLog},
    clock,
    facts::Gathered,
    heap,
    maps::{self, Maps, MapsError, Sizes},
    ring::Ring,
    scan::{ConnectionChecker, Scanner},
    syscalls, tick,
};
use crate::{
    config::{BpfLogLevel, StatxMode},
    errno::Errno,
    input::{ProbeHealth, WaitFunction},
    plan::{AttachPlan, KernelFacts},
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
    /// The object was refused.
    #[error("cannot load the eBPF object")]
    Object(#[source] EbpfError),
    /// The kernel's type information was refused.
    #[error("cannot read the kernel's BTF")]
    Btf(#[source] aya::BtfError),
    /// A map was refused.
    #[error("cannot set up the maps")]
    Maps(#[from] MapsError),
    /// A program that only answers questions was refused.
    #[error("cannot load the program {0}")]
    Program(&'static str, #[source] ProgramError),
    /// It did not answer.
    #[error("the program {0} did not answer")]
    Ask(&'static str, #[source] io::Error),
    /// The programs' messages cannot be read.
    #[error("cannot read the programs' own messages")]
    Log(#[from] aya_log::Error),
    /// The object does not belong to this program.
    #[error("the eBPF object has no program {0}")]
    Missing(&'static str),
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
}

/// The kernel side at work.
#[derive(Debug)]
pub struct Kernel {
    /// What became of each probe.
    pub probes: Vec<ProbeHealth>,
    /// The records.
    pub ring: Ring,
    /// Counters, requests in flight, watched sets.
    pub maps: Maps,
    /// The iterators.
    pub scanner: Scanner,
    /// The check of single connections.
    pub checker: Option<ConnectionChecker>,
    /// Where tasks wait for filesystems; empty when the symbols are hidden.
    pub wait_functions: Vec<WaitFunction>,
    /// The observer's process number in the initial pid namespace.
    pub self_tgid: u32,
    /// Keeps everything attached.
    pub attached: Attached,
}

/// Keeps the programs attached; dropping it detaches them.
pub struct Attached(Ebpf);

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.programs().map(|(name, _)| name))
            .finish()
    }
}

impl Kernel {
    /// Loads and attaches.
    pub fn load(plan: &AttachPlan, found: &Gathered, options: &Options) -> Result<Self, LoadError> {
        let facts = &found.facts;
        may_load(facts)?;
        let cpus = aya::util::nr_cpus()
            .map_err(|(what, error)| LoadError::Maps(MapsError::Cpus(what, error)))?;
        let mut sizes = Sizes::for_cpus(cpus);
        sizes.ring_bytes = options.ring_bytes.unwrap_or(sizes.ring_bytes);
        let mut ebpf = load_object(plan, facts, options, sizes)?;
        let who = Whoami::load(&mut ebpf)?;
        let settings = Settings {
            slow_ns: options.slow_ns,
            tick_ns: who.tick_ns()?,
            self_tgid: who.tgid()?,
            registers_offset: 0,
            pad: 0,
        };
        set_settings(&mut ebpf, settings)?;
        set_syscalls(&mut ebpf)?;
        let wait_functions = found.symbols.wait_functions();
        set_wait_ranges(&mut ebpf, &wait_functions)?;
        let Programs {
            mut ebpf,
            probes,
            holders,
            tasks,
            checker,
            attached,
        } = attach::attach_all(ebpf, plan)?;
        // Only now: programs refer to maps by descriptors, which must stay open until all are loaded.
        let maps = Maps::take(&mut ebpf, settings, sizes, cpus, attached)?;
        let messages = match options.log {
            BpfLogLevel::Off => None,
            BpfLogLevel::Warn | BpfLogLevel::Debug => Some(BpfLog::take(&mut ebpf)?),
        };
        let ring = maps::typed(
            "EVENTS",
            Ring::new(maps::take(&mut ebpf, "EVENTS")?, messages),
        )?;
        let mode = maps::typed(
            "SCAN_MODE",
            Array::try_from(maps::take(&mut ebpf, "SCAN_MODE")?),
        )?;
        heap::give_back();
        Ok(Self {
            probes,
            ring,
            maps,
            scanner: Scanner {
                holders,
                tasks,
                mode,
            },
            checker,
            wait_functions,
            self_tgid: settings.self_tgid,
            attached: Attached(ebpf),
        })
    }
}

fn may_load(facts: &KernelFacts) -> Result<(), LoadError> {
    let missing = facts.missing_capabilities();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Capabilities(missing.join(" and ")))
    }
}

fn load_object(
    plan: &AttachPlan,
    facts: &KernelFacts,
    options: &Options,
    sizes: Sizes,
) -> Result<Ebpf, LoadError> {
    let recorded = Errno::bit_set(&options.recorded_errno);
    let descriptors = syscalls::descriptor_bits();
    let calls = if plan.statx == StatxMode::Full {
        CALLS_MAX
    } else {
        1
    };
    let level = bpf_log::level(options.log);
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global("RECORDED_ERRNO", &recorded, true)
        .override_global("DESCRIPTOR_SYSCALLS", &descriptors, true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries("TOTALS", sizes.totals)
        .map_max_entries("IN_FLIGHT", sizes.in_flight)
        .map_max_entries("CALLS", calls)
        .map_max_entries("EVENTS", sizes.ring_bytes);
    for (name, offset) in &facts.offsets {
        loader.override_global(name, offset, true);
    }
    loader.load(OBJECT).map_err(LoadError::Object)
}

fn set_settings(ebpf: &mut Ebpf, settings: Settings) -> Result<(), LoadError> {
    let map = ebpf
        .map_mut("SETTINGS")
        .ok_or(MapsError::Missing("SETTINGS"))?;
    let mut array: Array<_, Settings> = maps::typed("SETTINGS", Array::try_from(map))?;
    maps::typed("SETTINGS", array.set(0, settings, 0))?;
    Ok(())
}

fn set_syscalls(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let map = ebpf
        .map_mut("SYSCALL_OPS")
        .ok_or(MapsError::Missing("SYSCALL_OPS"))?;
    let mut array: Array<_, PathArguments> = maps::typed("SYSCALL_OPS", Array::try_from(map))?;
    for (number, arguments) in syscalls::path_arguments() {
        maps::typed("SYSCALL_OPS", array.set(number, arguments, 0))?;
    }
    Ok(())
}

fn set_wait_ranges(ebpf: &mut Ebpf, functions: &[WaitFunction]) -> Result<(), LoadError> {
    let map = ebpf
        .map_mut("WAIT_RANGES")
        .ok_or(MapsError::Missing("WAIT_RANGES"))?;
    let mut ranges: Array<_, TextRange> = maps::typed("WAIT_RANGES", Array::try_from(map))?;
    for (index, function) in (0..ranges.len()).zip(functions) {
        let range = TextRange {
            start: function.start,
            end: function.end,
        };
        maps::typed("WAIT_RANGES", ranges.set(index, range, 0))?;
    }
    Ok(())
}

/// The program that says who and when it is.
struct Whoami(OwnedFd);

impl Whoami {
    const NAME: &'static str = "whoami";

    fn load(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let program: &mut RawTracePoint = ebpf
            .program_mut(Self::NAME)
            .ok_or(LoadError::Missing(Self::NAME))?
            .try_into()
            .map_err(|error| LoadError::Program(Self::NAME, error))?;
        program
            .load()
            .map_err(|error| LoadError::Program(Self::NAME, error))?;
        let fd = program
            .fd()
            .map_err(|error| LoadError::Program(Self::NAME, error))?;
        let fd = fd.as_fd().try_clone_to_owned();
        fd.map(Self)
            .map_err(|error| LoadError::Ask(Self::NAME, error))
    }

    fn ask(&self, question: u64) -> Result<u32, LoadError> {
        bpf::ask(&self.0, [question, 0]).map_err(|error| LoadError::Ask(Self::NAME, error))
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

//! What this kernel offers and what we are allowed: read from the kernel's own descriptions of
//! itself, loading nothing.

pub mod fuse;
mod nfs;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use mount_observer_common::{ABSENT, CAST_TYPES, OFFSETS};

use super::{
    btf::{Btf, BtfError, Kind},
    symbols::{self, Symbols},
};
use crate::plan::{
    self, AttachPlan, CAP_SYS_PTRACE, Fuse, KernelFacts, Lockdown, Owner, Purpose, Questions,
};

/// Why the kernel's type information is not available.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file could not be read.
    #[error("cannot read /sys/kernel/btf/vmlinux")]
    Read(#[source] io::Error),
    /// It makes no sense.
    #[error("cannot parse /sys/kernel/btf/vmlinux")]
    Parse(#[source] BtfError),
}

/// The facts, and what was read with them.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The facts.
    pub facts: KernelFacts,
    /// Where the functions we know lie; `None` where that was not read, because it takes longest.
    pub symbols: Option<Symbols>,
    /// Type numbers, as the kernel counts them, of the functions we know, and of `bpf_iter_*` and
    /// `btf_trace_*`.
    pub btf_ids: BTreeMap<String, u32>,
    /// Those of the structs that addresses are taken for, by their globals (`CAST_TYPES`).
    pub cast_types: BTreeMap<&'static str, u32>,
}

/// Gathers all facts. What cannot be read is absent from them, never guessed.
pub fn gather() -> Gathered {
    let mut found = described();
    found.read_symbols();
    found
}

/// Gathers what it takes to decide, and decides. The list of symbols is as long as all other reading
/// together: it is looked at here only where BTF leaves a probe without a program and a kprobe might
/// serve it.
pub fn decide(purpose: Purpose) -> (Gathered, AttachPlan) {
    let mut found = described();
    let mut plan = plan::plan(&found.facts, purpose);
    if found.facts.lockdown != Lockdown::Confidentiality && plan.misses_kprobes() {
        found.read_symbols();
        plan = plan::plan(&found.facts, purpose);
    }
    (found, plan)
}

impl Gathered {
    fn read_symbols(&mut self) {
        let questions = plan::questions();
        let symbols = Symbols::read(&questions.functions).unwrap_or_default();
        self.facts.symbols = asked(symbols.owners(), &questions.functions);
        self.symbols = Some(symbols);
    }
}

/// The facts without the list of symbols: what BTF describes is in it.
fn described() -> Gathered {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let questions = plan::questions();
    let mut facts = KernelFacts {
        release: read_line("/proc/sys/kernel/osrelease"),
        has_kprobe_pmu: !read_line("/sys/bus/event_source/devices/kprobe/type").is_empty(),
        lockdown: parse_lockdown(&read_line("/sys/kernel/security/lockdown")),
        capabilities: parse_capabilities(&status),
        has_tracefs: is_mounted(&mounts, b"tracefs"),
        fusectl: super::fusectl::mount_point(&mounts),
        has_symbols: symbols::are_shown(),
        has_nfs: nfs::is_there(),
        ..KernelFacts::default()
    };
    facts.hides_processes = hides_processes(&mounts) && !facts.has_capability(CAP_SYS_PTRACE);
    let (mut btf_ids, mut cast_types) = Default::default();
    match read_btf() {
        Ok(btf) => {
            (btf_ids, cast_types) = describe(&mut facts, &btf, &questions, &mounts);
            if facts.has_nfs {
                nfs::complete(&mut facts.offsets, btf);
            }
        }
        Err(error) => {
            facts.fuse = fuse::presence_untold();
            facts.btf_error = Some(super::run::chain(&error));
        }
    }
    let functions = facts.functions.iter();
    facts.symbols = functions
        .map(|(name, function)| (name.clone(), function.module.clone()))
        .collect();
    Gathered {
        facts,
        symbols: None,
        btf_ids,
        cast_types,
    }
}

fn asked(mut all: BTreeMap<String, Owner>, names: &BTreeSet<&str>) -> BTreeMap<String, Owner> {
    all.retain(|name, _| names.contains(name.as_str()));
    all
}

/// Adds what BTF tells, and hands out the type numbers of what programs attach to and of what they take
/// addresses for.
fn describe(
    facts: &mut KernelFacts,
    btf: &Btf,
    questions: &Questions,
    mounts: &[u8],
) -> (BTreeMap<String, u32>, BTreeMap<&'static str, u32>) {
    let tracepoints = with_prefix("btf_trace_", &questions.tracepoints);
    let iterators = with_prefix("bpf_iter_", &questions.iterators);
    let mut wanted: BTreeSet<(Kind, &str)> = OFFSETS
        .iter()
        .map(|path| (Kind::Struct, path.type_name))
        .collect();
    wanted.insert((Kind::Struct, fuse::MARK));
    wanted.extend([REGISTERS, CHARGE]);
    wanted.extend(fuse::GROUND.map(|(name, _)| (Kind::Struct, name)));
    wanted.insert((Kind::Enum, "bpf_func_id"));
    wanted.extend(tracepoints.values().map(|name| (Kind::Typedef, &**name)));
    wanted.extend(iterators.values().map(|name| (Kind::Function, &**name)));
    wanted.extend((questions.functions.iter()).map(|&name| (Kind::Function, name)));
    let found = btf.find(&wanted);

    facts.has_btf = true;
    for &name in &questions.functions {
        let function = found.get(&(Kind::Function, name));
        if let Some(function) = function.and_then(|&id| btf.function(id)) {
            facts.functions.insert(name.to_owned(), function);
        }
    }
    for (name, typedef) in &tracepoints {
        if let Some(&id) = found.get(&(Kind::Typedef, &**typedef)) {
            facts.tracepoints.insert((*name).to_owned(), btf.owner(id));
        }
    }
    for (name, function) in &iterators {
        if found.contains_key(&(Kind::Function, &**function)) {
            facts.iterators.insert((*name).to_owned());
        }
    }
    let helpers: BTreeSet<&str> = found
        .get(&(Kind::Enum, "bpf_func_id"))
        .into_iter()
        .flat_map(|&id| btf.enumerators(id, "BPF_FUNC_"))
        .collect();
    let asked = helpers.intersection(&questions.helpers);
    facts.helpers = asked.map(|&name| name.to_owned()).collect();
    facts.charges_memlock = found.contains_key(&CHARGE);
    let size = |name| found.get(&name).and_then(|&id| btf.size_of(id));
    if !facts.helpers.contains("task_pt_regs") {
        facts.registers_offset = size(REGISTERS)
            .and_then(|registers| read_stack_bytes(mounts)?.checked_sub(registers))
            .unwrap_or(0);
    }
    facts.offsets = all_offsets(btf, &found);
    let owner = found.get(&(Kind::Struct, fuse::MARK));
    facts.fuse = fuse::presence(owner.map(|&id| btf.owner(id)).as_ref());
    if facts.fuse == Fuse::BareModule {
        let size = |name| size((Kind::Struct, name));
        facts.assumed = fuse::assume(&mut facts.offsets, &helpers, size);
    }
    let is_hook = |kind| matches!(kind, Kind::Function | Kind::Typedef);
    let hooks = found.iter().filter(|((kind, _), _)| is_hook(*kind));
    let hooks = hooks.map(|((_, name), &id)| ((*name).to_owned(), id));
    // The first that exists, so the last in turn; a module's types have no number there.
    let types = CAST_TYPES.iter().rev().filter_map(|&(global, name)| {
        let &id = found.get(&(Kind::Struct, name))?;
        btf.owner(id).is_none().then_some((global, id))
    });
    (hooks.collect(), types.collect())
}

/// What a map was charged for: gone since the memory controller does that (5.11).
const CHARGE: (Kind, &str) = (Kind::Struct, "bpf_map_memory");
/// What lies at the upper end of a task's kernel stack: `task_pt_regs`, `arch/x86/include/asm/processor.h`.
const REGISTERS: (Kind, &str) = (Kind::Struct, "pt_regs");

/// Each name with its name in BTF.
fn with_prefix<'a>(prefix: &str, names: &BTreeSet<&'a str>) -> BTreeMap<&'a str, String> {
    let names = names.iter();
    names
        .map(|&name| (name, format!("{prefix}{name}")))
        .collect()
}

/// Every global's offset; `ABSENT` where the field does not exist. A module's types, where the
/// kernel has FUSE as one, come on top.
fn all_offsets(btf: &Btf, found: &BTreeMap<(Kind, &str), u32>) -> BTreeMap<String, u32> {
    let offsets = btf.offsets(OFFSETS, found);
    OFFSETS
        .iter()
        .map(|path| {
            let offset = offsets.get(path.global).copied().unwrap_or(ABSENT);
            (path.global.to_owned(), offset)
        })
        .collect()
}

fn read_btf() -> Result<Btf, FactsError> {
    let bytes = fs::read("/sys/kernel/btf/vmlinux").map_err(FactsError::Read)?;
    let mut btf = Btf::parse(bytes).map_err(FactsError::Parse)?;
    if let Ok(module) = fs::read("/sys/kernel/btf/fuse") {
        btf.add_split("fuse", module).map_err(FactsError::Parse)?;
    }
    Ok(btf)
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// `None` where a file is not the kernel's own: in a container lxcfs serves it, through FUSE.
fn read_stack_bytes(mounts: &[u8]) -> Option<u32> {
    let paths = ["/proc/meminfo", "/proc/loadavg"];
    let lines = crate::mountinfo::parse(mounts).lines;
    let is_covered = |path: &&str| lines.iter().any(|line| line.mount_point == path.as_bytes());
    if paths.iter().any(is_covered) {
        return None;
    }
    let [meminfo, loadavg] = paths.map(read_line);
    stack_bytes(&meminfo, &loadavg)
}

/// Bytes of a task's kernel stack, a power of two that no type tells: the one nearest to what all of
/// them take, by the number of threads. The two numbers are not read at the same instant, and some
/// stacks are kept ready for threads to come.
fn stack_bytes(meminfo: &str, loadavg: &str) -> Option<u32> {
    let line = (meminfo.lines()).find_map(|line| line.strip_prefix("KernelStack:"))?;
    let kilobytes: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    let threads: u32 = loadavg.split(' ').nth(3)?.split_once('/')?.1.parse().ok()?;
    let each = (kilobytes.checked_mul(4)? / 3)
        .checked_div(threads)?
        .checked_ilog2()?;
    Some(1024 << each)
}

/// Whether `/proc` is mounted so that it shows no process of others to those who may not trace it
/// (`hidepid=`, `fs/proc/root.c`: 2 or `invisible`, 4 or `ptraceable`).
fn hides_processes(mountinfo: &[u8]) -> bool {
    let mut lines = mountinfo.split(|&byte| byte == b'\n').rev();
    let proc_line = lines.find(|line| line.split(|&byte| byte == b' ').nth(4) == Some(b"/proc"));
    let options = proc_line.and_then(|line| line.rsplit(|&byte| byte == b' ').next());
    let mut options = options.unwrap_or_default().split(|&byte| byte == b',');
    options.any(|option| {
        let value = option.strip_prefix(b"hidepid=").unwrap_or_default();
        [&b"2"[..], b"invisible", b"4", b"ptraceable"].contains(&value)
    })
}

/// The bracketed word counts: `none [integrity] confidentiality`.
fn parse_lockdown(line: &str) -> Lockdown {
    if line.contains("[integrity]") {
        Lockdown::Integrity
    } else if line.contains("[confidentiality]") {
        Lockdown::Confidentiality
    } else {
        Lockdown::None
    }
}

fn parse_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether a filesystem of this type is mounted anywhere.
fn is_mounted(mountinfo: &[u8], fstype: &[u8]) -> bool {
    let lines = crate::mountinfo::parse(mountinfo).lines;
    lines.iter().any(|line| line.fstype == fstype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_lockdown_counts() {
        assert_eq!(
            parse_lockdown("none [integrity] confidentiality"),
            Lockdown::Integrity
        );
        assert_eq!(
            parse_lockdown("none integrity [confidentiality]"),
            Lockdown::Confidentiality
        );
        assert_eq!(
            parse_lockdown("[none] integrity confidentiality"),
            Lockdown::None
        );
        assert_eq!(parse_lockdown(""), Lockdown::None);
    }

    #[test]
    fn a_kernel_stack_is_what_all_of_them_take_by_the_number_of_threads() {
        let meminfo = "Shmem: 3 kB\nKernelStack:        2224 kB\nPageTables: 1 kB\n";
        assert_eq!(
            stack_bytes(meminfo, "0.40 0.35 0.31 1/126 6071"),
            Some(16 << 10)
        );
        let more_threads = "0.40 0.35 0.31 1/150 6071";
        assert_eq!(stack_bytes(meminfo, more_threads), Some(16 << 10));
        assert_eq!(stack_bytes(meminfo, "0.40 0.35 0.31 1/0 6071"), None);
        assert_eq!(stack_bytes("", "0.40 0.35 0.31 1/126 6071"), None);
    }

    #[test]
    fn a_proc_that_hides_processes_is_told_by_its_options() {
        let line = |options: &str| format!("20 1 0:4 / /proc rw,nosuid - proc proc {options}\n");
        for hiding in ["rw,hidepid=invisible", "rw,gid=4,hidepid=2"] {
            assert!(hides_processes(line(hiding).as_bytes()), "{hiding}");
        }
        for open in ["rw", "rw,hidepid=off", "rw,hidepid=noaccess"] {
            assert!(!hides_processes(line(open).as_bytes()), "{open}");
        }
        let above = line("rw,hidepid=2") + &line("rw");
        assert!(!hides_processes(above.as_bytes()), "the last is on top");
    }

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\n";
        assert_eq!(parse_capabilities(status), 0x1ff_ffff_ffff);
        assert_eq!(parse_capabilities("garbage"), 0);
    }

    #[test]
    fn a_type_is_found_whatever_the_optional_fields() {
        let table = b"4 2 0:5 / /x rw shared:1 master:2 - tmpfs tracefs rw\n";
        assert!(is_mounted(table, b"tmpfs"));
        assert!(!is_mounted(table, b"tracefs"));
    }
}

//! What a kernel offers and what we are allowed on it: read from its own descriptions of itself,
//! nothing loaded. Captured from real kernels as JSON, it is what the plan is tested on.

use std::collections::{BTreeMap, BTreeSet};

use mount_observer_common::ABSENT;
use serde::{Deserialize, Serialize};

/// Who defines a function or tracepoint: a module, or `None` for the kernel itself.
pub type Owner = Option<String>;

/// What this kernel offers and what we are allowed. Names are limited to those the plan asks for
/// ([`super::Questions`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct KernelFacts {
    /// `uname -r`, for people only.
    pub release: String,
    /// Whether `/sys/kernel/btf/vmlinux` could be read and parsed.
    pub has_btf: bool,
    /// Why not.
    #[serde(skip)]
    pub btf_error: Option<String>,
    /// Where FUSE is.
    pub fuse: Fuse,
    /// Whether NFS is there now: built in, or loaded.
    #[serde(default)]
    pub has_nfs: bool,
    /// Functions that BTF describes.
    pub functions: BTreeMap<String, Function>,
    /// Functions that `/proc/kallsyms` lists, shown or not: what a kprobe can be put on. Where that was
    /// not read, those that BTF describes.
    pub symbols: BTreeMap<String, Owner>,
    /// Tracepoints by the names of their `btf_trace_*` types in BTF.
    pub tracepoints: BTreeMap<String, Owner>,
    /// Iterator targets by the names of their `bpf_iter_*` functions in BTF.
    pub iterators: BTreeSet<String>,
    /// Helpers by their names in `enum bpf_func_id`, without `BPF_FUNC_`.
    pub helpers: BTreeSet<String>,
    /// Offsets by the name of the global they go to; `ABSENT` where the field does not exist.
    pub offsets: BTreeMap<String, u32>,
    /// Those offsets that no BTF tells: from the sources of the kernels that have none for modules.
    pub assumed: BTreeSet<String>,
    /// Where a task's user registers lie, in bytes from the lower end of its kernel stack; 0 when the
    /// sizes of both are not known, or a helper hands them out.
    pub registers_offset: u32,
    /// Whether maps count against `RLIMIT_MEMLOCK`: before 5.11.
    pub charges_memlock: bool,
    /// Whether the kernel has the kprobe PMU (`CONFIG_KPROBE_EVENTS`).
    pub has_kprobe_pmu: bool,
    /// What the kernel is locked down to.
    pub lockdown: Lockdown,
    /// Effective capabilities, one bit each (`include/uapi/linux/capability.h`).
    pub capabilities: u64,
    /// Whether tracefs is mounted. Only classic tracepoints need it.
    pub has_tracefs: bool,
    /// Where fusectl is mounted: of the machine, not of its kernel.
    #[serde(skip)]
    pub fusectl: Option<Vec<u8>>,
    /// Whether `/proc` hides the processes of others from us: of the machine, too.
    #[serde(skip)]
    pub hides_processes: bool,
    /// Whether `/proc/kallsyms` shows addresses.
    pub has_symbols: bool,
}

/// Where FUSE is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fuse {
    /// Not loaded now.
    #[default]
    Absent,
    /// Part of the kernel.
    BuiltIn,
    /// A loaded module that comes with BTF.
    Module,
    /// A loaded module without BTF: kernels before 5.11, or `CONFIG_DEBUG_INFO_BTF_MODULES=n`.
    BareModule,
}

impl Fuse {
    /// Whether it comes and goes.
    pub const fn is_module(self) -> bool {
        matches!(self, Self::Module | Self::BareModule)
    }

    /// The word `check` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "not loaded",
            Self::BuiltIn => "built in",
            Self::Module => "module",
            Self::BareModule => "module without BTF",
        }
    }
}

/// A function as BTF describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Where its text is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Owner,
    /// Types of its parameters, in C: `const struct path *`.
    pub parameters: Vec<String>,
    /// Type of its result, `void` for none.
    pub result: String,
}

/// `/sys/kernel/security/lockdown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lockdown {
    /// Nothing is locked down, or the kernel knows no lockdown.
    #[default]
    None,
    /// Changing the kernel is refused.
    Integrity,
    /// Reading it is refused too: `bpf_probe_read_kernel` does not exist.
    Confidentiality,
}

/// `CAP_SYS_PTRACE`: links of other users' processes.
pub const CAP_SYS_PTRACE: u32 = 19;
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
    pub(super) fn variant<'a>(
        &self,
        variants: &'a [&'static [&'static str]],
    ) -> &'a [&'static str] {
        let starts = |names: &&&'a [&'static str]| {
            let first = names.first();
            first.is_some_and(|name| self.has_field(name))
        };
        let found = variants.iter().find(starts).or(variants.last());
        found.copied().unwrap_or_default()
    }

    pub(super) fn lacks<'a>(
        &self,
        mut names: impl Iterator<Item = &'a &'static str>,
    ) -> Option<String> {
        names
            .find(|name| !self.has_field(name))
            .map(|name| format!("the kernel's BTF has no field for {name}"))
    }
}

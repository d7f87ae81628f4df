//! The values written into the programs' `.rodata` before they are loaded: constants to the verifier.

use std::collections::BTreeMap;

use mount_observer_common::MAY_READ_KERNEL;
use zerocopy::IntoBytes;

use super::Options;
use crate::{
    daemon::{bpf_log, syscalls},
    errno::Errno,
    plan::{self, KernelFacts, Lockdown},
};

/// Globals by name, as bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Globals(BTreeMap<String, Vec<u8>>);

impl Globals {
    /// What is configured, and where this kernel keeps what.
    pub(super) fn new(options: &Options, facts: &KernelFacts) -> Self {
        let mut globals = Self::default();
        let recorded = Errno::bit_set(&options.recorded_errno);
        globals.set("RECORDED_ERRNO", recorded.as_bytes());
        globals.set(
            "DESCRIPTOR_SYSCALLS",
            syscalls::descriptor_bits().as_bytes(),
        );
        globals.set(aya_log::LEVEL, &[bpf_log::level(options.log)]);
        let may_read = facts.lockdown != Lockdown::Confidentiality
            && facts.helpers.contains("probe_read_kernel");
        globals.set(MAY_READ_KERNEL, u32::from(may_read).as_bytes());
        let is_traced = u32::from(options.trace.is_some());
        globals.set("IS_TRACED", is_traced.as_bytes());
        for (global, helper) in plan::switched_helpers() {
            let has = u32::from(facts.helpers.contains(helper));
            globals.set(global, has.as_bytes());
        }
        globals.set_offsets(facts);
        globals
    }

    /// Where this kernel keeps what, once a module has come.
    pub(super) fn set_offsets(&mut self, facts: &KernelFacts) {
        for (name, offset) in &facts.offsets {
            self.set(name, offset.as_bytes());
        }
    }

    /// The types that addresses are taken for, by their numbers on this kernel.
    pub(super) fn set_types(&mut self, types: &BTreeMap<&'static str, u32>) {
        for (name, number) in types {
            self.set(name, number.as_bytes());
        }
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.0.insert(name.to_owned(), value.to_vec());
    }

    /// Names, values, and that they must exist.
    pub(super) fn for_object(&self) -> impl Iterator<Item = (&str, (&[u8], bool))> {
        let globals = self.0.iter();
        globals.map(|(name, value)| (name.as_str(), (value.as_slice(), true)))
    }
}

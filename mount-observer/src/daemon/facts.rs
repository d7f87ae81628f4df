//! What this kernel offers and what we are allowed: read from the kernel's own descriptions of
//! itself, loading nothing.

use std::{collections::BTreeMap, fs, io};

use mount_observer_common::{ABSENT, OFFSETS};

use super::btf::{Btf, BtfError};
use crate::plan::{KernelFacts, Lockdown};

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

/// Gathers the facts. What cannot be read is absent from them, never guessed.
pub fn gather() -> KernelFacts {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut facts = KernelFacts {
        release: read_line("/proc/sys/kernel/osrelease"),
        lockdown: parse_lockdown(&read_line("/sys/kernel/security/lockdown")),
        capabilities: parse_capabilities(&status),
        has_tracefs: is_mounted(&mounts, b"tracefs"),
        fusectl: super::fusectl::mount_point(&mounts),
        has_symbols: super::symbols::are_shown(),
        ..KernelFacts::default()
    };
    match read_btf() {
        Ok(btf) => {
            facts.has_btf = true;
            facts.tracepoints = btf.typedefs("btf_trace_");
            facts.iterators = btf.functions("bpf_iter_");
            facts.offsets = all_offsets(&btf);
        }
        Err(error) => tracing::warn!(
            error = %error,
            cause = std::error::Error::source(&error).map(ToString::to_string),
            "the kernel's type information is not available: nothing can be attached"
        ),
    }
    facts
}

/// Every global's offset; `ABSENT` where the field does not exist. A module's types, where the
/// kernel has FUSE as one, come on top.
fn all_offsets(btf: &Btf) -> BTreeMap<&'static str, u32> {
    let mut offsets = btf.offsets(OFFSETS);
    for path in OFFSETS {
        offsets.entry(path.global).or_insert(ABSENT);
    }
    offsets
}

fn read_btf() -> Result<Btf, FactsError> {
    let bytes = fs::read("/sys/kernel/btf/vmlinux").map_err(FactsError::Read)?;
    let mut btf = Btf::parse(bytes).map_err(FactsError::Parse)?;
    if let Ok(module) = fs::read("/sys/kernel/btf/fuse") {
        btf.add_split(module).map_err(FactsError::Parse)?;
    }
    Ok(btf)
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
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

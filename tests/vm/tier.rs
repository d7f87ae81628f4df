//! How each probe is attached on each kernel of the matrix: what the plan promises there, read from
//! what users read.

use std::process::Command;

use mount_observer_tests::{Observer, host_test, observer::binary};
use serde_json::Value;

use crate::{guest, skip};

/// A probe and the kinds it may be attached as; `None` where nothing can serve it.
type Expected = &'static [(&'static str, &'static [Option<&'static str>])];

const FENTRY: &[Option<&str>] = &[Some("fentry")];
const FEXIT: &[Option<&str>] = &[Some("fexit")];
const KPROBE: &[Option<&str>] = &[Some("kprobe")];
const TYPED: &[Option<&str>] = &[Some("tp_btf")];
const TRACEPOINT: &[Option<&str>] = &[Some("tp_btf"), Some("raw_tp")];
const ITERATOR: &[Option<&str>] = &[Some("iterator")];
const NOTHING: &[Option<&str>] = &[None];

/// Path walks and stats, the same everywhere: the functions are in `vmlinux`, and so is their BTF.
const VFS: Expected = &[
    ("stat_enter", FENTRY),
    ("stat_exit", FEXIT),
    ("walk_end", FENTRY),
    ("attr_enter", FENTRY),
    ("attr_exit", FEXIT),
    ("path_exit", TRACEPOINT),
    ("server_exit", TRACEPOINT),
    ("tasks", ITERATOR),
];

/// Debian 11: FUSE is a module without BTF, and returns are not probed by breakpoints.
const FUSE_KPROBE: Expected = &[
    ("fuse_send", KPROBE),
    ("fuse_end", KPROBE),
    ("fuse_call", KPROBE),
    ("fuse_return", NOTHING),
    ("fuse_background", NOTHING),
    ("connection_abort", KPROBE),
    ("device_release", KPROBE),
    ("holders", ITERATOR),
];

/// Debian 12: FUSE is a module with BTF and without tracepoints.
const FUSE_MODULE: Expected = &[
    ("fuse_send", FENTRY),
    ("fuse_end", FENTRY),
    ("fuse_call", FENTRY),
    ("fuse_return", FEXIT),
    ("fuse_background", FEXIT),
    ("connection_abort", FENTRY),
    ("device_release", FENTRY),
    ("holders", ITERATOR),
];

/// 6.12 and later: FUSE is built in, with tracepoints.
const FUSE_BUILT_IN: Expected = &[
    ("fuse_send", TRACEPOINT),
    ("fuse_end", TRACEPOINT),
    ("fuse_call", FENTRY),
    ("fuse_return", FEXIT),
    ("fuse_background", FEXIT),
    ("connection_abort", FENTRY),
    ("device_release", FENTRY),
    ("holders", ITERATOR),
];

/// Confidentiality: what reads the kernel by address does not exist. Typed programs do the same.
const FUSE_TYPED: Expected = &[
    ("fuse_send", TYPED),
    ("fuse_end", TYPED),
    ("fuse_call", FENTRY),
    ("fuse_return", FEXIT),
    ("fuse_background", FEXIT),
    ("connection_abort", FENTRY),
    ("device_release", FENTRY),
    // A file leads to its connection through a pointer without a type: it is given one.
    ("holders", ITERATOR),
    ("connection_check", &[Some("test_run")]),
];

/// What a guest must have; a new one is in no table and must be put into one.
fn expected(guest: &str) -> Option<Expected> {
    Some(match guest {
        "5.10" => FUSE_KPROBE,
        "6.1" => FUSE_MODULE,
        "6.12-confidentiality" => FUSE_TYPED,
        "6.12" | "6.12-integrity" | "6.12-smp" | "6.16" | "6.18" | "7.2" | "7.3" => FUSE_BUILT_IN,
        _ => return None,
    })
}

#[test]
fn every_probe_is_attached_as_planned_for_this_kernel() {
    let Some(guest) = guest() else {
        return skip("no guest of the matrix");
    };
    let fuse = expected(&guest);
    assert!(fuse.is_some(), "no tier is written down for {guest}");
    host_test(&[], move |sandbox| {
        let _mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        let snapshot = observer.snapshot();
        let metrics = observer.metrics();
        let mut wrong = Vec::new();
        for &(probe, kinds) in VFS.iter().chain(fuse.unwrap_or_default()) {
            let kind = observer.probe_kind(probe);
            if !kinds.contains(&kind.as_deref()) {
                wrong.push(format!("{probe}: {kind:?}, not one of {kinds:?}"));
            }
            let series = kind.map(|kind| {
                format!("mount_observer_probe_attached{{probe=\"{probe}\",kind=\"{kind}\"}} 1\n")
            });
            if series.is_some_and(|series| !metrics.contains(&series)) {
                wrong.push(format!("{probe}: the metrics say something else"));
            }
        }
        let probes = &snapshot["observer"]["probes"];
        assert_eq!(wrong, Vec::<String>::new(), "{probes:#}");
    });
}

/// Instructions that the verifier may go through for one program: a tenth of what it allows.
const VERIFIED_MAX: u64 = 100_000;

#[test]
fn each_program_is_small_to_the_verifier_and_the_start_is_timed() {
    host_test(&[], |_| {
        let checked = Command::new(binary())
            .args(["check", "--json"])
            .output()
            .expect("it runs");
        let report: Value = serde_json::from_slice(&checked.stdout).expect("it tells in JSON");
        let start_ms = report["start_ms"].as_u64().expect("the start is timed");
        let attached = report["attached"].as_array().expect("a list");
        // Two iterators, the syscalls, and what looks at FUSE.
        assert!(attached.len() > 6, "{report:#}");
        let verified = |place: &Value| {
            Some((
                place["verified_instructions"].as_u64()?,
                place["program"].to_string(),
            ))
        };
        let mut verified: Vec<_> = attached.iter().filter_map(verified).collect();
        verified.sort();
        println!(
            "FIGURE: started in {start_ms} ms; most instructions verified: {:?}",
            verified.last()
        );
        let is_told = verified.len() == attached.len();
        assert!(
            is_told || verified.is_empty(),
            "the kernel tells all or none: {report:#}"
        );
        verified.retain(|&(instructions, _)| instructions > VERIFIED_MAX);
        assert_eq!(verified, []);
    });
}

/// `lockdown` is what the guest's name says, or the tests of it test nothing.
#[test]
fn the_kernel_is_locked_down_as_the_guest_s_name_says() {
    let Some(guest) = guest() else {
        return skip("no guest of the matrix");
    };
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let current = lockdown
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let current = current.map_or("none", |(word, _)| word);
    let named = guest.split_once('-').map_or("none", |(_, variant)| variant);
    let named = if named == "smp" { "none" } else { named };
    assert_eq!(current, named, "{lockdown}");
}

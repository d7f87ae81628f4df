//! The plan on every kernel of the matrix, from the facts that `cargo xtask facts` captured there.

use super::*;

macro_rules! captured {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/data/kernels/",
            $name,
            ".json"
        ))
    };
}

const DEBIAN_11: &str = captured!("5.10");
const DEBIAN_12: &str = captured!("6.1");
const CONFIDENTIALITY: &str = captured!("6.12-confidentiality");
/// FUSE is part of the kernel and has tracepoints; connections are `fuse_conn`.
const LATER: [&str; 4] = [
    captured!("6.12"),
    captured!("6.12-integrity"),
    captured!("6.16"),
    captured!("6.18"),
];
/// The same, but connections are `fuse_chan`.
const CHANNELS: [&str; 2] = [captured!("7.2"), captured!("7.3")];

fn facts(captured: &str) -> KernelFacts {
    serde_json::from_str(captured).unwrap()
}

/// What is tried first for each probe, as `probe mechanism program [module]`.
fn first_choices(captured: &str) -> Vec<String> {
    let facts = facts(captured);
    let plan = plan(&facts, Purpose::Watch(StatxMode::Auto));
    let choice = |planned: &PlannedProbe| {
        let probe = planned.probe.name();
        match planned.candidates().next() {
            Some(way) => {
                let module = way.module.as_deref().unwrap_or("vmlinux");
                format!("{probe}: {} {} {module}", way.mechanism.name(), way.program)
            }
            None if planned.is_wanted() => format!("{probe}: none"),
            None => format!("{probe}: off"),
        }
    };
    plan.probes.iter().map(choice).collect()
}

/// Everywhere: these functions are in `vmlinux`, and so is their BTF; of NFS, everything that is read is
/// described, by `vmlinux` or by the module.
const VFS: [&str; 11] = [
    "server_exit: tp_btf server_exit vmlinux",
    "nfs_mounts: test_run nfs_mounts vmlinux",
    "nfs_end: raw_tp nfs_end vmlinux",
    "path_exit: tp_btf path_exit_errors vmlinux",
    "stat_exit: fexit stat_exit vmlinux",
    "attr_exit: fexit attr_exit vmlinux",
    "attr_enter: fentry attr_enter vmlinux",
    "walk_end: fentry walk_end vmlinux",
    "stat_enter: fentry stat_enter vmlinux",
    "path_enter: off",
    "shadow_writes: off",
];

fn with_vfs(fuse: &[&str]) -> Vec<String> {
    let all = fuse.iter().chain(&VFS);
    all.map(|&choice| choice.to_owned()).collect()
}

#[test]
fn debian_11_takes_kprobes_for_fuse_and_trampolines_for_the_rest() {
    let expected = with_vfs(&[
        "connection_check: test_run connection_check vmlinux",
        "holders: iterator holders vmlinux",
        "tasks: iterator tasks vmlinux",
        "files: iterator files vmlinux",
        "fuse_end: kprobe fuse_end_kprobe vmlinux",
        "fuse_send: kprobe fuse_send_kprobe vmlinux",
        "fuse_return: none",
        "fuse_background: none",
        "fuse_call: kprobe fuse_call_kprobe vmlinux",
        "connection_abort: kprobe abort_connection_kprobe vmlinux",
        "device_release: kprobe device_release_kprobe vmlinux",
    ]);
    assert_eq!(first_choices(DEBIAN_11), expected);
    let facts = facts(DEBIAN_11);
    assert_eq!(facts.fuse, Fuse::BareModule);
    assert!(facts.assumed.contains("OFF_FC_DEV"));
    assert!(facts.charges_memlock);
}

#[test]
fn debian_12_takes_trampolines_into_the_module() {
    let expected = with_vfs(&[
        "connection_check: test_run connection_check vmlinux",
        "holders: iterator holders vmlinux",
        "tasks: iterator tasks vmlinux",
        "files: iterator files vmlinux",
        "fuse_end: fentry fuse_end_fentry fuse",
        "fuse_send: fentry fuse_send_fentry fuse",
        "fuse_return: fexit fuse_return fuse",
        "fuse_background: fexit fuse_background fuse",
        "fuse_call: fentry fuse_call fuse",
        "connection_abort: fentry abort_connection fuse",
        "device_release: fentry device_release fuse",
    ]);
    assert_eq!(first_choices(DEBIAN_12), expected);
    let facts = facts(DEBIAN_12);
    assert_eq!(facts.assumed.len(), 0);
    assert!(!facts.charges_memlock);
}

#[test]
fn later_kernels_take_tracepoints_for_requests_and_trampolines_for_calls() {
    let expected = |abort| {
        with_vfs(&[
            "connection_check: test_run connection_check vmlinux",
            "holders: iterator holders vmlinux",
            "tasks: iterator tasks vmlinux",
            "files: iterator files vmlinux",
            "fuse_end: tp_btf fuse_end vmlinux",
            "fuse_send: tp_btf fuse_send vmlinux",
            "fuse_return: fexit fuse_return_idmap vmlinux",
            "fuse_background: fexit fuse_background vmlinux",
            "fuse_call: fentry fuse_call_idmap vmlinux",
            abort,
            "device_release: fentry device_release vmlinux",
        ])
    };
    for kernel in LATER {
        let abort = "connection_abort: fentry abort_connection vmlinux";
        assert_eq!(first_choices(kernel), expected(abort));
    }
    for kernel in CHANNELS {
        let abort = "connection_abort: fentry abort_channel vmlinux";
        assert_eq!(first_choices(kernel), expected(abort));
    }
}

#[test]
fn confidentiality_takes_nothing_that_reads_the_kernel_by_address() {
    let expected = first_choices(LATER[0]);
    let mut choices = first_choices(CONFIDENTIALITY);
    choices.swap(2, 3);
    assert_eq!(
        choices[..3],
        [
            "connection_check: test_run connection_check_cast vmlinux",
            "holders: iterator holders_cast vmlinux",
            "files: iterator files_cast vmlinux",
        ]
    );
    choices.swap(2, 3);
    for place in [0, 1, 3] {
        choices[place].clone_from(&expected[place]);
    }
    let nfs = |choice: &&String| choice.starts_with("nfs_");
    let lost: Vec<_> = choices.iter().filter(nfs).cloned().collect();
    assert_eq!(lost, ["nfs_mounts: none", "nfs_end: none"]);
    choices.retain(|choice| !nfs(&choice));
    let kept: Vec<_> = expected
        .iter()
        .filter(|choice| !nfs(choice))
        .cloned()
        .collect();
    assert_eq!(choices, kept);
    let plan = plan(&facts(CONFIDENTIALITY), Purpose::Watch(StatxMode::Auto));
    let ways = plan.probes.iter().flat_map(PlannedProbe::candidates);
    let mechanisms: Vec<Mechanism> = ways.map(|way| way.mechanism).collect();
    assert!(!mechanisms.contains(&Mechanism::KProbe));
    assert!(!mechanisms.contains(&Mechanism::RawTracepoint));
}

#[test]
fn an_address_is_taken_for_no_type_where_the_kernel_has_none_or_the_call_is_another() {
    let holders = |facts: &KernelFacts| {
        let plan = plan(facts, Purpose::Watch(StatxMode::Auto));
        let mut planned = plan.probes.iter();
        let planned = planned
            .find(|planned| planned.probe == Probe::Holders)
            .unwrap();
        planned.candidates().next().map(|way| way.program)
    };
    let original = facts(CONFIDENTIALITY);
    assert_eq!(holders(&original), Some("holders_cast"));
    let mut changed = original.clone();
    let cast = changed.functions.get_mut("bpf_rdonly_cast").unwrap();
    cast.parameters.push("u64".to_owned());
    assert_eq!(holders(&changed), None);
    let mut module = original.clone();
    module.fuse = Fuse::Module;
    assert_eq!(holders(&module), None);
    let mut older = original;
    older.functions.remove("bpf_rdonly_cast");
    assert_eq!(holders(&older), None);
}

#[test]
fn a_function_renamed_or_changed_is_never_probed_as_if_it_were_the_old_one() {
    for captured in LATER.into_iter().chain(CHANNELS).chain([DEBIAN_12]) {
        let original = facts(captured);
        for name in original.functions.keys() {
            let mut renamed = original.clone();
            renamed.functions.remove(name);
            renamed.symbols.remove(name);
            assert!(!is_probed(&renamed, name), "{name} gone");
            let mut changed = original.clone();
            let function = changed.functions.get_mut(name).unwrap();
            function.parameters.insert(0, "struct novelty *".to_owned());
            assert!(!is_probed(&changed, name), "{name} changed");
        }
    }
}

fn is_probed(facts: &KernelFacts, function: &str) -> bool {
    let plan = plan(facts, Purpose::Watch(StatxMode::Auto));
    let mut ways = plan.probes.iter().flat_map(PlannedProbe::candidates);
    ways.any(|way| way.mechanism.is_on_function() && way.target == function)
}

#[test]
fn a_field_that_is_gone_is_read_by_no_program_that_needs_it() {
    let watch = Purpose::Watch(StatxMode::Auto);
    for captured in LATER.into_iter().chain([DEBIAN_12]) {
        for field in ["OFF_SB_DEV", "OFF_REQ_OPCODE", "OFF_FC_DEV"] {
            let mut facts = facts(captured);
            facts.offsets.insert(field.to_owned(), ABSENT);
            let plan = plan(&facts, watch);
            let end = plan
                .probes
                .iter()
                .find(|planned| planned.probe == Probe::FuseEnd);
            let end = end.unwrap();
            assert_eq!(end.candidates().count(), 0, "{field}");
            let why = format!("the kernel's BTF has no field for {field}");
            assert!(end.refused().any(|(_, reason)| reason == why), "{field}");
        }
    }
}

#[test]
fn without_nfs_there_is_nothing_to_see_and_a_layout_never_seen_is_not_read() {
    for captured in LATER
        .into_iter()
        .chain(CHANNELS)
        .chain([DEBIAN_11, DEBIAN_12])
    {
        let mut facts = facts(captured);
        facts.offsets.insert("OFF_NFS_CLIENT".to_owned(), ABSENT);
        let nfs = |facts: &KernelFacts| -> Vec<(bool, usize)> {
            let plan = plan(facts, Purpose::Watch(StatxMode::Auto));
            let probes = plan.probes.iter().filter(|planned| planned.probe.is_nfs());
            probes
                .map(|planned| (planned.is_wanted(), planned.candidates().count()))
                .collect()
        };
        assert_eq!(nfs(&facts), [(true, 0); 2]);
        facts.has_nfs = false;
        assert_eq!(nfs(&facts), [(false, 0); 2]);
    }
}

mod functions;
mod kernels;

use mount_observer_common::{ABSENT, OFFSETS};

use super::*;

/// The 6.18 host this was developed on: every tracepoint and iterator, lockdown=integrity.
fn host() -> KernelFacts {
    KernelFacts {
        release: "6.18.44".to_owned(),
        has_btf: true,
        fuse: Fuse::BuiltIn,
        tracepoints: [
            "fuse_request_send",
            "fuse_request_end",
            "sched_process_exit",
            "sys_enter",
            "sys_exit",
        ]
        .map(|name| (name.to_owned(), None))
        .into(),
        iterators: ["task", "task_file"].map(str::to_owned).into(),
        offsets: OFFSETS
            .iter()
            .map(|path| (path.global.to_owned(), 8))
            .collect(),
        helpers: questions().helpers.into_iter().map(str::to_owned).collect(),
        lockdown: Lockdown::Integrity,
        capabilities: 1 << CAP_SYS_ADMIN,
        has_tracefs: true,
        fusectl: None,
        has_symbols: true,
        ..KernelFacts::default()
    }
}

fn mechanisms(plan: &AttachPlan, probe: Probe) -> Vec<Mechanism> {
    let planned = plan
        .probes
        .iter()
        .find(|planned| planned.probe == probe)
        .unwrap();
    planned
        .candidates()
        .map(|candidate| candidate.mechanism)
        .collect()
}

#[test]
fn typed_tracepoints_come_first_and_untyped_ones_stand_by() {
    let plan = plan(&host(), Purpose::Watch(StatxMode::Auto));
    assert_eq!(
        mechanisms(&plan, Probe::FuseSend),
        [Mechanism::TpBtf, Mechanism::RawTracepoint]
    );
    assert_eq!(plan.impossible().count(), 0);
    assert_eq!(plan.statx, StatxMode::Errors);
}

#[test]
fn fuse_as_a_module_falls_to_untyped_tracepoints() {
    let mut facts = host();
    for (name, owner) in &mut facts.tracepoints {
        *owner = name.starts_with("fuse_").then(|| "fuse".to_owned());
    }
    let plan = plan(&facts, Purpose::Watch(StatxMode::Off));
    assert_eq!(
        mechanisms(&plan, Probe::FuseEnd),
        [Mechanism::RawTracepoint]
    );
}

#[test]
fn off_wants_nothing_on_syscalls_and_that_is_no_loss() {
    let plan = plan(&host(), Purpose::Watch(StatxMode::Off));
    for probe in [Probe::PathEnter, Probe::PathExit] {
        assert_eq!(mechanisms(&plan, probe), []);
    }
    assert_eq!(plan.impossible().count(), 0);
}

#[test]
fn a_single_look_attaches_nothing() {
    let plan = plan(&host(), Purpose::Look);
    let wanted: Vec<_> = plan
        .probes
        .iter()
        .filter(|planned| planned.is_wanted())
        .map(|planned| planned.probe)
        .collect();
    assert_eq!(
        wanted,
        [Probe::ConnectionCheck, Probe::Holders, Probe::Tasks]
    );
}

#[test]
fn only_full_times_path_syscalls() {
    assert_eq!(
        mechanisms(
            &plan(&host(), Purpose::Watch(StatxMode::Errors)),
            Probe::PathEnter
        ),
        []
    );
    assert_eq!(
        mechanisms(
            &plan(&host(), Purpose::Watch(StatxMode::Full)),
            Probe::PathEnter
        ),
        [Mechanism::TpBtf]
    );
}

#[test]
fn a_missing_capability_is_named() {
    let facts = KernelFacts {
        capabilities: 1 << CAP_BPF,
        ..host()
    };
    let plan = plan(&facts, Purpose::Watch(StatxMode::Auto));
    let planned = plan.impossible().next().unwrap();
    assert_eq!(planned.refused().next().unwrap().1, "needs CAP_PERFMON");
}

#[test]
fn a_missing_field_refuses_the_probe_that_needs_it_and_no_other() {
    let mut facts = host();
    facts
        .offsets
        .insert("OFF_TASK_NAMEIDATA".to_owned(), ABSENT);
    let plan = plan(&facts, Purpose::Watch(StatxMode::Auto));
    let impossible: Vec<_> = plan.impossible().map(|planned| planned.probe).collect();
    assert_eq!(impossible, [Probe::Tasks]);
}

#[test]
fn confidentiality_leaves_the_typed_probes() {
    let facts = KernelFacts {
        lockdown: Lockdown::Confidentiality,
        ..host()
    };
    let plan = plan(&facts, Purpose::Watch(StatxMode::Auto));
    assert_eq!(mechanisms(&plan, Probe::FuseSend), [Mechanism::TpBtf]);
    assert_eq!(mechanisms(&plan, Probe::ConnectionCheck), []);
    let impossible: Vec<_> = plan.impossible().map(|planned| planned.probe).collect();
    assert_eq!(impossible, [Probe::Holders]);
}

#[test]
fn the_walk_over_the_queues_is_refused_where_it_would_read_beside_a_structure() {
    for name in [
        "OFF_REQ_LIST",
        "OFF_CONN_PENDING",
        "OFF_FUD_PROCESSING",
        "OFF_FUD_IO",
        "OFF_FM_FC",
    ] {
        let mut facts = host();
        facts.offsets.insert(name.to_owned(), ABSENT);
        let plan = plan(&facts, Purpose::Look);
        let impossible: Vec<_> = plan.impossible().map(|planned| planned.probe).collect();
        assert_eq!(impossible, [Probe::Holders], "{name}");
    }
}

#[test]
fn a_request_leads_to_its_connection_one_way_or_the_other() {
    let mut facts = host();
    facts.offsets.insert("OFF_REQ_FM".to_owned(), ABSENT);
    let watch = Purpose::Watch(StatxMode::Off);
    assert_eq!(plan(&facts, watch).impossible().count(), 0);
    facts.offsets.insert("OFF_REQ_CHAN".to_owned(), ABSENT);
    let impossible: Vec<_> = plan(&facts, watch)
        .impossible()
        .map(|planned| planned.probe)
        .collect();
    assert_eq!(
        impossible,
        [Probe::Holders, Probe::FuseEnd, Probe::FuseSend]
    );
}

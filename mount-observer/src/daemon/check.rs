//! `check`: gathers the facts, and loads and attaches everything for a moment, because what a kernel
//! really allows only shows when it is tried.

use super::{
    clock, confine, facts,
    kernel::{Attachment, Kernel, Options},
    run, watch,
};
use crate::{
    config::Config,
    plan::{CAP_SYS_PTRACE, KernelFacts, Lockdown, Purpose, statx_reason},
    render::check::{CheckReport, Need, Place, ProbeReport, not_seen},
};

/// Numbers of `include/uapi/linux/capability.h`.
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYSLOG: u32 = 34;

const RUN_AS_ROOT: &str = "run as root, or grant CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_SYSLOG \
     (systemd: AmbientCapabilities=; a binary: setcap cap_bpf,cap_perfmon,cap_sys_ptrace,\
     cap_dac_read_search,cap_syslog+ep FILE)";

/// Looks at everything.
pub fn check(config: &Config) -> CheckReport {
    let begun = clock::now().mono;
    let (found, plan) = facts::decide(Purpose::Watch(config.probes.statx));
    let facts = &found.facts;
    let options: Options = watch::options(config);
    let loaded = Kernel::load(&plan, &found, &options);
    // To detach takes longer, one grace period of RCU for each program.
    let took = clock::now().mono.since(begun);
    let (probes, attached, failure) = match loaded {
        Ok(kernel) => (
            kernel.probes.iter().map(ProbeReport::from).collect(),
            kernel.attachments.iter().map(place).collect(),
            None,
        ),
        Err(error) => (untried(&plan), Vec::new(), Some(run::chain(&error))),
    };
    let is_stat_timed =
        (attached.iter()).any(|place: &Place| place.probe == "stat_exit" && place.kind == "fexit");
    CheckReport {
        kernel: facts.release.clone(),
        facts: described(facts),
        needs: needs(facts),
        statx: plan.statx.name().to_owned(),
        statx_reason: statx_reason(config.probes.statx, is_stat_timed).to_owned(),
        attached,
        start_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        not_seen: not_seen(&probes),
        probes,
        failure,
    }
}

fn place(attachment: &Attachment) -> Place {
    Place {
        probe: attachment.probe.name(),
        kind: attachment.mechanism.name(),
        program: attachment.program,
        target: attachment.target,
        module: attachment.module.clone(),
        verified_instructions: attachment.verified_instructions,
    }
}

/// The plan as it stands when nothing could be loaded.
fn untried(plan: &crate::plan::AttachPlan) -> Vec<ProbeReport> {
    let report = |planned: &crate::plan::PlannedProbe| ProbeReport {
        probe: planned.probe.name(),
        kind: None,
        is_wanted: planned.is_wanted(),
        lacks: None,
        reason: match (planned.candidates().next(), planned.unwanted) {
            (Some(candidate), _) => {
                format!("planned as {}, not tried", candidate.mechanism.name())
            }
            (None, Some(why)) => why.to_owned(),
            (None, None) => planned
                .refused()
                .map(|(mechanism, reason)| format!("{}: {reason}", mechanism.name()))
                .collect::<Vec<_>>()
                .join("; "),
        },
    };
    plan.probes.iter().map(report).collect()
}

fn described(facts: &KernelFacts) -> Vec<(String, String)> {
    let yes_no = |is_there| if is_there { "yes" } else { "no" }.to_owned();
    let lockdown = match facts.lockdown {
        Lockdown::None => "none",
        Lockdown::Integrity => "integrity",
        Lockdown::Confidentiality => "confidentiality",
    };
    let fuse: Vec<&str> = ["fuse_request_send", "fuse_request_end"]
        .into_iter()
        .filter(|&name| facts.tracepoints.contains_key(name))
        .collect();
    let or_none = |list: &[&str]| {
        if list.is_empty() {
            "none".to_owned()
        } else {
            list.join(", ")
        }
    };
    let iterators: Vec<&str> = ["task", "task_file"]
        .into_iter()
        .filter(|&name| facts.iterators.contains(name))
        .collect();
    vec![
        ("type information (BTF)".to_owned(), yes_no(facts.has_btf)),
        ("lockdown".to_owned(), lockdown.to_owned()),
        ("FUSE".to_owned(), facts.fuse.name().to_owned()),
        ("FUSE tracepoints".to_owned(), or_none(&fuse)),
        ("kprobes".to_owned(), yes_no(facts.has_kprobe_pmu)),
        ("iterators".to_owned(), or_none(&iterators)),
        (
            "Landlock".to_owned(),
            confine::landlock().unwrap_or_else(|why| why),
        ),
    ]
}

fn needs(facts: &KernelFacts) -> Vec<Need> {
    let missing = facts.missing_capabilities();
    let need = |name, purpose, is_met, remedy| Need {
        name,
        purpose,
        is_met,
        remedy,
    };
    let capability =
        |name, number, purpose| need(name, purpose, facts.has_capability(number), RUN_AS_ROOT);
    vec![
        need(
            "CAP_BPF",
            "load eBPF programs and maps",
            !missing.contains(&"CAP_BPF"),
            RUN_AS_ROOT,
        ),
        need(
            "CAP_PERFMON",
            "attach them to tracepoints",
            !missing.contains(&"CAP_PERFMON"),
            RUN_AS_ROOT,
        ),
        capability(
            "CAP_SYS_PTRACE",
            CAP_SYS_PTRACE,
            "read other processes' links: mount namespaces, working directories",
        ),
        capability(
            "CAP_DAC_READ_SEARCH",
            CAP_DAC_READ_SEARCH,
            "read tracefs and fusectl, which only root may",
        ),
        need(
            "CAP_SYSLOG",
            "kernel addresses: the functions in which tasks wait",
            facts.has_symbols || facts.has_capability(CAP_SYSLOG),
            RUN_AS_ROOT,
        ),
        need(
            "kernel symbols",
            "tell tasks that wait for a filesystem from others",
            facts.has_symbols,
            "sysctl kernel.kptr_restrict=1, or 0, and CAP_SYSLOG",
        ),
        need(
            "tracefs",
            "describe tracepoints",
            facts.has_tracefs,
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
        need(
            "fusectl",
            "cross-check how many requests each FUSE connection waits for",
            facts.fusectl.is_some(),
            "mount -t fusectl fusectl /sys/fs/fuse/connections",
        ),
    ]
}

//! Probes on functions: kernels whose functions moved, changed or are not described.

use super::*;

/// `void terminate_walk(struct nameidata *)`, and so on.
fn parse(prototype: &str) -> (String, Function) {
    let (head, parameters) = prototype.split_once('(').unwrap();
    let (result, name) = head.rsplit_once(' ').unwrap();
    let parameters = parameters.trim_end_matches(')').split(", ");
    let function = Function {
        module: None,
        parameters: parameters.map(str::to_owned).collect(),
        result: result.to_owned(),
    };
    (name.to_owned(), function)
}

const VFS: [&str; 3] = [
    "int vfs_statx(int, struct filename *, int, struct kstat *, u32)",
    "void terminate_walk(struct nameidata *)",
    "int vfs_getattr_nosec(const struct path *, struct kstat *, u32, unsigned int)",
];

/// Debian 12: FUSE is a module, and has no tracepoints.
const FUSE_6_1: [&str; 6] = [
    "void queue_request_and_unlock(struct fuse_iqueue *, struct fuse_req *)",
    "void fuse_request_end(struct fuse_req *)",
    "ssize_t fuse_simple_request(struct fuse_mount *, struct fuse_args *)",
    "int fuse_simple_background(struct fuse_mount *, struct fuse_args *, gfp_t)",
    "void fuse_abort_conn(struct fuse_conn *)",
    "int fuse_dev_release(struct inode *, struct file *)",
];

fn debian_12() -> KernelFacts {
    let mut facts = host();
    facts.release = "6.1.0".to_owned();
    facts.lockdown = Lockdown::None;
    facts.has_kprobe_pmu = true;
    facts.fuse = Fuse::Module;
    facts
        .tracepoints
        .retain(|name, _| !name.starts_with("fuse_"));
    facts.offsets.insert("OFF_REQ_CHAN".to_owned(), ABSENT);
    for prototype in VFS {
        let (name, function) = parse(prototype);
        facts.symbols.insert(name.clone(), None);
        facts.functions.insert(name, function);
    }
    for prototype in FUSE_6_1 {
        let (name, mut function) = parse(prototype);
        function.module = Some("fuse".to_owned());
        facts.symbols.insert(name.clone(), function.module.clone());
        facts.functions.insert(name, function);
    }
    facts
}

fn planned(facts: &KernelFacts, probe: Probe) -> PlannedProbe {
    let plan = plan(facts, Purpose::Watch(StatxMode::Auto));
    let mut probes = plan.probes.into_iter();
    probes.find(|planned| planned.probe == probe).unwrap()
}

/// The programs that are tried, in order.
fn programs(facts: &KernelFacts, probe: Probe) -> Vec<&'static str> {
    let planned = planned(facts, probe);
    let programs = planned.candidates().map(|way| way.program);
    programs.collect()
}

#[test]
fn fuse_as_a_module_is_traced_through_its_own_btf() {
    let facts = debian_12();
    let send = planned(&facts, Probe::FuseSend);
    assert_eq!(
        send.candidates().next().unwrap(),
        &Candidate {
            mechanism: Mechanism::FEntry,
            program: "fuse_send_fentry",
            target: "queue_request_and_unlock",
            module: Some("fuse".to_owned()),
            after: None,
            reason: "at the function's entry, with typed arguments, through the BTF of module fuse"
                .to_owned(),
            lacks: None,
        }
    );
    let refused: Vec<_> = send.refused().collect();
    assert_eq!(
        refused,
        [
            (
                Mechanism::TpBtf,
                "vmlinux has no tracepoint fuse_request_send"
            ),
            (
                Mechanism::RawTracepoint,
                "the kernel has no tracepoint fuse_request_send"
            ),
        ]
    );
    assert_eq!(programs(&facts, Probe::FuseReturn), ["fuse_return"]);
    let vfs = planned(&facts, Probe::StatExit);
    assert_eq!(vfs.candidates().next().unwrap().module, None);
}

#[test]
fn without_the_modules_btf_kprobes_remain_and_nothing_tells_the_end_of_a_call() {
    let mut facts = debian_12();
    facts.fuse = Fuse::BareModule;
    facts
        .functions
        .retain(|_, function| function.module.is_none());
    facts.assumed = ["OFF_REQ_OPCODE".to_owned()].into();
    let end = planned(&facts, Probe::FuseEnd);
    let way = end.candidates().next().unwrap();
    assert_eq!(way.program, "fuse_end_kprobe");
    assert!(
        way.reason
            .ends_with("no BTF tells its arguments, they are assumed; layout of FUSE assumed")
    );
    assert_eq!(
        end.refused().last().unwrap().1,
        "module fuse has no BTF for fuse_request_end"
    );
    assert_eq!(programs(&facts, Probe::FuseCall), ["fuse_call_kprobe"]);
    assert_eq!(programs(&facts, Probe::FuseReturn), <[&str; 0]>::default());
    assert_eq!(programs(&facts, Probe::StatExit), ["stat_exit"]);
}

#[test]
fn a_changed_prototype_refuses_what_was_written_for_the_old_one() {
    let mut facts = debian_12();
    let (name, function) = parse("void fuse_request_end(struct fuse_chan *, struct fuse_req *)");
    facts.functions.insert(name, function);
    let end = planned(&facts, Probe::FuseEnd);
    assert_eq!(end.candidates().count(), 0);
    assert_eq!(
        end.refused().last().unwrap().1,
        "the kernel has void fuse_request_end(struct fuse_chan *, struct fuse_req *), \
         the program knows void fuse_request_end(struct fuse_req *)"
    );
}

#[test]
fn a_renamed_function_leads_to_the_next_alternative() {
    let mut facts = debian_12();
    let (old, _) = parse(FUSE_6_1[2]);
    facts.functions.remove(&old);
    facts.symbols.remove(&old);
    let (new, function) = parse(
        "ssize_t __fuse_simple_request(struct mnt_idmap *, struct fuse_mount *, struct fuse_args *)",
    );
    facts.functions.insert(new.clone(), function);
    facts.symbols.insert(new, None);
    assert_eq!(
        programs(&facts, Probe::FuseCall),
        ["fuse_call_idmap", "fuse_call_idmap_kprobe"]
    );
    assert_eq!(programs(&facts, Probe::FuseReturn), ["fuse_return_idmap"]);
}

#[test]
fn the_name_of_the_file_is_no_matter_and_const_neither() {
    let mut facts = debian_12();
    let (name, function) = parse("int vfs_statx(int, const char *, int, struct kstat *, u32)");
    facts.functions.insert(name, function);
    assert_eq!(
        programs(&facts, Probe::StatEnter),
        ["stat_enter", "stat_enter_kprobe"]
    );
    let (name, function) = parse("int vfs_statx(int, const char *, int, struct kstat *)");
    facts.functions.insert(name, function);
    assert_eq!(programs(&facts, Probe::StatEnter), <[&str; 0]>::default());
}

#[test]
fn a_field_that_moved_away_refuses_every_way_that_reads_it() {
    let mut facts = debian_12();
    facts.offsets.insert("OFF_ND_DENTRY".to_owned(), ABSENT);
    let walk = planned(&facts, Probe::WalkEnd);
    assert_eq!(walk.candidates().count(), 0);
    assert!(
        walk.refused()
            .all(|(_, reason)| reason == "the kernel's BTF has no field for OFF_ND_DENTRY")
    );
    assert_ne!(programs(&facts, Probe::AttrEnter), <[&str; 0]>::default());
}

#[test]
fn a_modules_btf_needs_more_privilege_than_the_kernels() {
    let mut facts = debian_12();
    facts.capabilities = 1 << CAP_BPF | 1 << CAP_PERFMON;
    assert_eq!(programs(&facts, Probe::FuseEnd), ["fuse_end_kprobe"]);
    let end = planned(&facts, Probe::FuseEnd);
    assert_eq!(
        end.refused().last().unwrap().1,
        "needs CAP_SYS_ADMIN: fuse_request_end is in module fuse"
    );
    assert_eq!(
        programs(&facts, Probe::WalkEnd),
        ["walk_end", "walk_end_kprobe"]
    );
}

#[test]
fn without_fuse_there_is_nothing_to_see_and_that_is_no_loss() {
    let mut facts = debian_12();
    facts.fuse = Fuse::Absent;
    let plan = plan(&facts, Purpose::Watch(StatxMode::Auto));
    for planned in &plan.probes {
        assert_eq!(
            planned.is_wanted(),
            !planned.probe.is_fuse()
                && !planned.probe.is_nfs()
                && !matches!(planned.probe, Probe::PathEnter | Probe::ShadowWrites)
        );
    }
    assert_eq!(plan.impossible().count(), 0);
}

#[test]
fn confidentiality_refuses_kprobes_and_leaves_trampolines() {
    let mut facts = debian_12();
    facts.lockdown = Lockdown::Confidentiality;
    assert_eq!(programs(&facts, Probe::WalkEnd), ["walk_end"]);
    assert_eq!(
        planned(&facts, Probe::WalkEnd).refused().last(),
        Some((
            Mechanism::KProbe,
            "lockdown=confidentiality refuses kprobes"
        ))
    );
}

#[test]
fn a_missing_helper_is_named() {
    let mut facts = debian_12();
    facts.helpers.remove("probe_read_kernel");
    assert_eq!(programs(&facts, Probe::FuseEnd), ["fuse_end_fentry"]);
    assert_eq!(
        planned(&facts, Probe::FuseEnd).refused().last().unwrap().1,
        "the kernel has no helper bpf_probe_read_kernel"
    );
}

#[test]
fn facts_are_read_back_as_they_were_written() {
    let facts = debian_12();
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<KernelFacts>(&text).unwrap(), facts);
}

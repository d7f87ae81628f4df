//! Why a way to serve a probe cannot be tried on this kernel.

use mount_observer_common::CAST;

use super::{
    facts::{CAP_SYS_ADMIN, Function, Fuse, KernelFacts, Lockdown},
    probe::Mechanism,
    ways::{ANY, Prototype, Way},
};

/// `None` when it can be tried.
pub(super) fn refusal(facts: &KernelFacts, way: &Way) -> Option<String> {
    let missing = facts.missing_capabilities();
    if !missing.is_empty() {
        return Some(format!("needs {}", missing.join(" and ")));
    }
    if !facts.has_btf {
        let why = facts.btf_error.as_deref().unwrap_or("it is not there");
        return Some(format!(
            "needs the kernel's type information (CONFIG_DEBUG_INFO_BTF): {why}"
        ));
    }
    // The target first: a function that is not there says more than the fields it would read.
    refused_target(facts, way)
        .or_else(|| refused_prototype(facts, way))
        .or_else(|| facts.lacks(way.fields(facts)))
        .or_else(|| refused_helper(facts, way))
        .or_else(|| refused_cast(facts, way))
}

fn refused_target(facts: &KernelFacts, way: &Way) -> Option<String> {
    let target = way.target;
    if way.is_found_by_trying {
        return None;
    }
    match way.mechanism {
        Mechanism::TpBtf => match facts.tracepoints.get(target) {
            None => Some(format!("vmlinux has no tracepoint {target}")),
            Some(Some(module)) => Some(format!("tracepoint {target} is in module {module}")),
            Some(None) => None,
        },
        Mechanism::RawTracepoint => (!facts.tracepoints.contains_key(target))
            .then(|| format!("the kernel has no tracepoint {target}")),
        Mechanism::Iterator => (!facts.iterators.contains(target))
            .then(|| format!("the kernel has no iterator {target}")),
        Mechanism::FEntry | Mechanism::FExit => match facts.functions.get(target) {
            None => Some(match facts.symbols.get(target) {
                Some(Some(module)) => format!("module {module} has no BTF for {target}"),
                Some(None) => format!("vmlinux has no BTF for {target}"),
                None => format!("the kernel describes no function {target}"),
            }),
            Some(Function {
                module: Some(module),
                ..
            }) if !facts.has_capability(CAP_SYS_ADMIN) => Some(format!(
                "needs CAP_SYS_ADMIN: {target} is in module {module}"
            )),
            Some(_) => None,
        },
        Mechanism::KProbe if !facts.has_kprobe_pmu => {
            Some("the kernel has no kprobes (CONFIG_KPROBE_EVENTS)".to_owned())
        }
        Mechanism::KProbe => (!facts.symbols.contains_key(target))
            .then(|| format!("the kernel has no function {target}")),
        Mechanism::TestRun => None,
    }
}

/// Where BTF describes the function, it must be the one the program was written for: the verifier
/// would take any argument number that exists, and a kprobe takes all.
fn refused_prototype(facts: &KernelFacts, way: &Way) -> Option<String> {
    let function = facts.functions.get(way.target)?;
    let expected = way.prototype?;
    (!is_like(function, expected)).then(|| {
        format!(
            "the kernel has {}, the program knows {}",
            signature(way.target, &function.parameters, &function.result),
            signature(way.target, expected.parameters, expected.result)
        )
    })
}

fn is_like(function: &Function, expected: Prototype) -> bool {
    let is_type = |found: &str, expected: &str| {
        expected == ANY || found.trim_start_matches("const ") == expected
    };
    let mut pairs = function.parameters.iter().zip(expected.parameters);
    function.parameters.len() == expected.parameters.len()
        && pairs.all(|(found, expected)| is_type(found, expected))
        && is_type(&function.result, expected.result)
}

fn signature(name: &str, parameters: &[impl AsRef<str>], result: &str) -> String {
    let parameters: Vec<&str> = parameters.iter().map(AsRef::as_ref).collect();
    format!("{result} {name}({})", parameters.join(", "))
}

fn refused_helper(facts: &KernelFacts, way: &Way) -> Option<String> {
    let is_locked = facts.lockdown == Lockdown::Confidentiality;
    if is_locked && way.mechanism == Mechanism::KProbe {
        return Some("lockdown=confidentiality refuses kprobes".to_owned());
    }
    if is_locked && way.helpers.contains(&"probe_read_kernel") {
        return Some("lockdown=confidentiality refuses bpf_probe_read_kernel".to_owned());
    }
    way.helpers
        .iter()
        .find(|helper| !facts.helpers.contains(**helper))
        .map(|helper| format!("the kernel has no helper bpf_{helper}"))
}

/// Only types of the kernel's own BTF have a number that a program can name.
fn refused_cast(facts: &KernelFacts, way: &Way) -> Option<String> {
    let (function, _) = CAST;
    if !way.casts {
        None
    } else if facts.fuse != Fuse::BuiltIn {
        Some("FUSE's types are a module's".to_owned())
    } else {
        let found = facts.functions.get(function);
        let is_known = found.is_some_and(|found| is_like(found, CAST_PROTOTYPE));
        (!is_known).then(|| format!("the kernel has no {function} as the program knows it"))
    }
}

/// `kernel/bpf/helpers.c`, v6.2 to v7.3.
const CAST_PROTOTYPE: Prototype = Prototype {
    parameters: &["void *", "u32"],
    result: "void *",
};

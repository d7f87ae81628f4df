//! How often programs hold the module they are on.
//!
//! Kernels do it differently: once per function, from the first program on it
//! (`bpf_trampoline_module_get`, `kernel/bpf/trampoline.c`, v6.1), or once per program, from its load
//! (`check_attach_btf_id`, `kernel/bpf/verifier.c`, v6.12). Which it is shows in the module's count of
//! users; how often is counted here, because others come and go meanwhile.

use std::collections::BTreeSet;

/// Programs on a module.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Those on its functions.
    programs: u32,
    /// Of these, those whose load gave the module a user more.
    counted_at_load: u32,
    functions: BTreeSet<&'static str>,
    /// Untyped ones on its tracepoints: each holds it (`bpf_get_raw_tracepoint`, v5.10 to v7.3).
    tracepoints: u32,
}

impl Holds {
    /// A program is on a function; whether the module had more users once it was loaded.
    pub(super) fn on_function(&mut self, name: &'static str, has_risen: bool) {
        self.programs += 1;
        self.counted_at_load += u32::from(has_risen);
        self.functions.insert(name);
    }

    /// A program is on a tracepoint.
    pub(super) fn on_tracepoint(&mut self) {
        self.tracepoints += 1;
    }

    /// How often the module is held by them. What most loads did is what the kernel does: who came or
    /// went during one of them does not matter.
    pub(super) fn count(&self) -> u32 {
        let is_per_program = self.counted_at_load > self.programs / 2;
        let functions = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
        let traced = if is_per_program {
            self.programs
        } else {
            functions
        };
        traced.saturating_add(self.tracepoints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions of FUSE on 6.1, one of them with two programs.
    const FUNCTIONS: [&str; 7] = [
        "fuse_request_end",
        "queue_request_and_unlock",
        "fuse_simple_request",
        "fuse_simple_background",
        "fuse_simple_request",
        "fuse_abort_conn",
        "fuse_dev_release",
    ];

    fn held(has_risen: impl Fn(usize) -> bool) -> u32 {
        let mut holds = Holds::default();
        for (index, name) in FUNCTIONS.into_iter().enumerate() {
            holds.on_function(name, has_risen(index));
        }
        holds.count()
    }

    #[test]
    fn each_function_is_held_once_where_loads_hold_nothing() {
        assert_eq!(held(|_| false), 6);
        assert_eq!(held(|index| index == 3), 6, "somebody mounted meanwhile");
    }

    #[test]
    fn each_program_holds_where_its_load_does() {
        assert_eq!(held(|_| true), 7);
        assert_eq!(held(|index| index != 3), 7, "somebody left meanwhile");
    }

    #[test]
    fn tracepoints_are_held_by_each_program_and_nothing_by_none() {
        let mut holds = Holds::default();
        assert_eq!(holds.count(), 0);
        holds.on_tracepoint();
        holds.on_tracepoint();
        assert_eq!(holds.count(), 2);
    }
}

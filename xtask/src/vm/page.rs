//! docs/KERNELS.md, from what guests told.

use anyhow::{Context, Result};
use serde_json::Value;

/// What stands above the tables.
const HEAD: &str = "\
# Kernels

How the observer attaches on each kernel of the matrix, what it does not see there, and what it costs. Written by
`cargo xtask kernels` from one run of each guest; do not edit it.

These rows are for Debian's builds: 5.10 is Debian 11's kernel, 6.1 is Debian 12's, 6.12 is Debian 13's, and the
later ones come with its backports. `uname -r` says which kernel is yours; what another build offers may differ, and
`mount-observer check` says what yours does. `-integrity` and `-confidentiality` are started with that `lockdown=`,
`-smp` has two processors.

`fentry` and `fexit` are programs at the entry and exit of a kernel function, `tp_btf` and `raw_tp` at a tracepoint,
`kprobe` at a breakpoint; `iterator` and `test_run` are no hooks, they run when asked. `-` is not attached, `off` not
asked for.

The guests are Debian's kernels in an emulator: times are those of an emulated processor, and of whatever else the
machine did meanwhile. A cost is therefore given as a multiple: what the observer adds to an operation, divided by
what empty programs on the very same hooks add: 1.0 is the bare cost of a hook, some 100 ns a call on real hardware.
An unrelated call is a system call that takes no path. `ready after` is from the start of the command to its first
answer. Verified instructions are what the verifier went through to accept a
program; kernels before 5.16 do not tell.

| guest | kernel | VFS | FUSE | ready after | most verified instructions | `stat` | `stat` on FUSE | unrelated call |
|---|---|---|---|---|---|---|---|---|
";

/// Probes by which a guest's tier is summed up: of the VFS, and of FUSE.
const VFS: [&str; 3] = ["stat_exit", "walk_end", "path_exit"];
const FUSE: [&str; 4] = ["fuse_send", "fuse_end", "fuse_call", "fuse_return"];

/// One guest's answers.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) guest: &'static str,
    pub(super) release: String,
    /// `mount-observer check --json`.
    pub(super) check: Value,
    /// `bench --guest`; none where it could not measure.
    pub(super) bench: Option<Value>,
}

/// The whole page.
pub(super) fn page(answers: &[Answers]) -> Result<String> {
    let mut text = HEAD.to_owned();
    for answers in answers {
        text.push_str(&summary(answers));
    }
    for answers in answers {
        text.push_str(&section(answers).with_context(|| answers.guest.to_owned())?);
    }
    Ok(text)
}

fn summary(answers: &Answers) -> String {
    let kinds = |probes: &[&str]| {
        let mut kinds: Vec<_> = probes.iter().map(|probe| kind(answers, probe)).collect();
        kinds.dedup();
        kinds.join(", ")
    };
    let bench = answers.bench.as_ref();
    let start = bench.and_then(|bench| bench.get("start_ms")?.as_u64());
    let most = programs(answers)
        .filter_map(|program| program.get("verified_instructions")?.as_u64())
        .max();
    let number = |number: Option<u64>, unit: &str| {
        number.map_or("-".to_owned(), |number| format!("{number}{unit}"))
    };
    let costs = bench.and_then(|bench| bench.get("costs")?.as_array());
    let costs: Vec<_> = costs.into_iter().flatten().map(multiple).collect();
    let cells = [
        answers.guest.to_owned(),
        answers.release.clone(),
        kinds(&VFS),
        kinds(&FUSE),
        number(start, " ms"),
        number(most, ""),
    ];
    let costs = (0..3).map(|at| costs.get(at).cloned().unwrap_or_else(|| "-".to_owned()));
    row(cells.into_iter().chain(costs))
}

fn section(answers: &Answers) -> Result<String> {
    let probes = answers.check.get("probes").and_then(Value::as_array);
    let probes = probes.context("check names no probes")?;
    let mut text = format!(
        "\n## {}\n\nLinux {}.\n\n| probe | how | where | verified instructions |\n|---|---|---|---|\n",
        answers.guest, answers.release
    );
    for probe in probes {
        let name = string(probe, "probe");
        let program = programs(answers).find(|program| string(program, "probe") == name);
        let target = program.map(|program| {
            let target = string(program, "target");
            match program.get("module").and_then(Value::as_str) {
                Some(module) => format!("`{target}` [{module}]"),
                None if target.is_empty() => String::new(),
                None => format!("`{target}`"),
            }
        });
        let instructions =
            program.and_then(|program| program.get("verified_instructions")?.as_u64());
        text.push_str(&row([
            name.to_owned(),
            kind(answers, name).to_owned(),
            target.unwrap_or_default(),
            instructions.map_or(String::new(), |number| number.to_string()),
        ]));
    }
    let not_seen = answers.check.get("not_seen").and_then(Value::as_array);
    let not_seen: Vec<_> = not_seen.into_iter().flatten().collect();
    if not_seen.is_empty() {
        text.push_str("\nNothing is missing here.\n");
    } else {
        text.push_str("\nNot seen here:\n\n");
    }
    for lack in not_seen {
        text.push_str("- ");
        text.push_str(string(lack, "what"));
        text.push_str(" (`");
        text.push_str(string(lack, "probe"));
        text.push_str("`)\n");
    }
    Ok(text)
}

/// How a probe is attached; `-` when it is not, and `off` when nobody asks for it.
fn kind<'a>(answers: &'a Answers, probe: &str) -> &'a str {
    let probes = answers.check.get("probes").and_then(Value::as_array);
    let found = probes
        .into_iter()
        .flatten()
        .find(|found| string(found, "probe") == probe);
    let is_wanted = found.and_then(|found| found.get("is_wanted")?.as_bool());
    let kind = found.and_then(|found| found.get("kind")?.as_str());
    kind.unwrap_or(if is_wanted == Some(false) { "off" } else { "-" })
}

fn programs(answers: &Answers) -> impl Iterator<Item = &Value> {
    let programs = answers
        .bench
        .as_ref()
        .and_then(|bench| bench.get("programs")?.as_array());
    programs.into_iter().flatten()
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What the observer adds, as a multiple of what empty programs add.
fn multiple(cost: &Value) -> String {
    let ns = |key| cost.get(key).and_then(Value::as_f64);
    let multiple = || {
        let nothing = ns("nothing_ns")?;
        let (empty, observer) = (ns("empty_ns")? - nothing, ns("observer_ns")? - nothing);
        // Less than that is what repeating the measurement changes.
        (empty > nothing / 50.0).then(|| format!("{:.1}", observer / empty))
    };
    multiple().unwrap_or_else(|| "-".to_owned())
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answers() -> Answers {
        Answers {
            guest: "6.1",
            release: "6.1.0-56".to_owned(),
            check: json!({
                "probes": [
                    {"probe": "stat_exit", "kind": "fexit", "is_wanted": true},
                    {"probe": "fuse_return", "kind": null, "is_wanted": true},
                    {"probe": "path_enter", "kind": null, "is_wanted": false},
                ],
                "not_seen": [{"probe": "fuse_return", "what": "refused requests"}],
            }),
            bench: Some(json!({
                "start_ms": 900,
                "programs": [{
                    "probe": "stat_exit", "kind": "fexit", "target": "vfs_statx",
                    "module": "vfs", "verified_instructions": 3782,
                }],
                "costs": [
                    {"nothing_ns": 100.0, "empty_ns": 120.0, "observer_ns": 150.0},
                    {"nothing_ns": 100.0, "empty_ns": 101.0, "observer_ns": 150.0},
                ],
            })),
        }
    }

    #[test]
    fn a_guest_is_a_row_and_a_section() {
        let page = page(&[answers()]).unwrap();
        assert!(
            page.contains("| 6.1 | 6.1.0-56 | fexit, - | - | 900 ms | 3782 | 2.5 | - | - |\n"),
            "{page}"
        );
        assert!(
            page.contains("| stat_exit | fexit | `vfs_statx` [vfs] | 3782 |\n"),
            "{page}"
        );
        assert!(page.contains("| path_enter | off |  |  |\n"), "{page}");
        assert!(
            page.contains("- refused requests (`fuse_return`)\n"),
            "{page}"
        );
    }

    #[test]
    fn without_measurements_a_guest_still_has_its_tiers() {
        let answers = Answers {
            bench: None,
            ..answers()
        };
        let page = page(&[answers]).unwrap();
        assert!(
            page.contains("| 6.1 | 6.1.0-56 | fexit, - | - | - | - | - | - | - |\n"),
            "{page}"
        );
    }
}

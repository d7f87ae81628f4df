//! Every test on every guest, as a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{
    Ran,
    report::{Outcome, Run},
};

/// A row per test, a column per guest. Empty when nothing ran.
pub(super) fn tests(ran: &[Ran]) -> String {
    let columns: Vec<_> = ran
        .iter()
        .map(|ran| (ran.guest.name, marks(&ran.ended.report.runs)))
        .collect();
    let rows: BTreeSet<_> = columns.iter().flat_map(|(_, marks)| marks.keys()).collect();
    let mut text = String::new();
    for (index, (name, _)) in columns.iter().enumerate() {
        // Writing to a String cannot fail.
        writeln!(text, "    {}  {name}", "| ".repeat(index) + "+-").ok();
    }
    for row in &rows {
        let marks: Vec<_> = columns
            .iter()
            .map(|(_, marks)| marks.get(*row).copied().unwrap_or("-"))
            .collect();
        writeln!(text, "    {}  {row}", marks.join(" ")).ok();
    }
    if !rows.is_empty() {
        text.push_str("    . passed, F failed, i ignored, s skipped, n nothing to test on this kernel, - not run\n");
    }
    text
}

/// How each test of a guest went.
fn marks(runs: &[Run]) -> BTreeMap<String, &'static str> {
    let mut marks = BTreeMap::new();
    for run in runs {
        let skipped: BTreeSet<_> = run.skipped().into_iter().map(|(name, _)| name).collect();
        let absent: BTreeSet<_> = run.not_here().into_iter().map(|(name, _)| name).collect();
        for test in run.tests() {
            let mark = match test.outcome {
                Outcome::Passed if skipped.contains(test.name.as_str()) => "s",
                Outcome::Passed if absent.contains(test.name.as_str()) => "n",
                Outcome::Passed => ".",
                Outcome::Failed => "F",
                Outcome::Ignored => "i",
            };
            marks.insert(format!("{}::{}", run.name, test.name), mark);
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::report::Report;

    #[test]
    fn a_test_that_said_it_was_skipped_has_not_passed() {
        let report = Report::parse(
            "1 begin host\n2 err SKIPPED: b: needs root\n2 err NOT HERE: e: no BTF\n\
             3 out test a ... ok\n4 out test b ... ok\n5 out test c ... FAILED\n\
             6 out test d ... ignored\n7 out test e ... ok\n",
        );
        let marks: Vec<_> = marks(&report.runs).into_iter().collect();
        let expected = [("a", "."), ("b", "s"), ("c", "F"), ("d", "i"), ("e", "n")];
        let expected = expected.map(|(name, mark)| (format!("host::{name}"), mark));
        assert_eq!(marks, expected);
    }
}

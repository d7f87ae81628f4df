//! What a guest says on its second serial line (`tests/src/bin/guest/talk.rs`): milliseconds since
//! boot, a word for the kind of line, and the rest.

use std::time::Duration;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Release of the kernel that booted; `None` when no init ever spoke.
    pub(super) kernel: Option<String>,
    /// When init began.
    pub(super) booted: Duration,
    pub(super) runs: Vec<Run>,
    /// Whether the job came to its end.
    pub(super) is_done: bool,
    /// How it went, where init could only say so before it switched the machine off.
    pub(super) verdict: Option<bool>,
}

/// One program that was run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) stdout: Vec<String>,
    /// Both streams as they came, with the time of each line.
    pub(super) output: Vec<(Duration, String)>,
    /// Its exit code; `None` when it never ended.
    pub(super) code: Option<i32>,
    pub(super) began: Duration,
    pub(super) ended: Duration,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Ignored,
}

/// One test of a test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

impl Report {
    /// Reads everything that was said, however it broke off.
    pub(super) fn parse(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let mut words = line.trim_end_matches('\r').splitn(3, ' ');
            let at = words.next().and_then(|at| at.parse().ok());
            let (Some(at), Some(kind)) = (at.map(Duration::from_millis), words.next()) else {
                continue;
            };
            report.take(at, kind, words.next().unwrap_or_default());
        }
        report
    }

    fn take(&mut self, at: Duration, kind: &str, rest: &str) {
        match kind {
            "kernel" => (self.kernel, self.booted) = (Some(rest.to_owned()), at),
            "begin" => self.runs.push(Run {
                name: rest.to_owned(),
                began: at,
                ..Run::default()
            }),
            "done" => self.is_done = true,
            "verdict" => self.verdict = Some(rest == "passed"),
            _ => {
                if let Some(run) = self.runs.last_mut() {
                    run.take(at, kind, rest);
                }
            }
        }
    }

    /// The run of this name.
    pub(super) fn run(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name == name)
    }
}

impl Run {
    fn take(&mut self, at: Duration, kind: &str, rest: &str) {
        match kind {
            "out" | "err" => {
                if kind == "out" {
                    self.stdout.push(rest.to_owned());
                }
                self.output.push((at, rest.to_owned()));
            }
            "end" => (self.code, self.ended) = (rest.parse().ok(), at),
            _ => {}
        }
    }

    /// The tests libtest reported.
    pub(super) fn tests(&self) -> Vec<Test> {
        self.stdout.iter().filter_map(|line| test(line)).collect()
    }

    /// Tests that said they did not run, which is no pass: name and reason.
    pub(super) fn skipped(&self) -> Vec<(&str, &str)> {
        self.said("SKIPPED: ")
    }

    /// Tests that said that what they are about does not exist on this kernel: name and reason.
    pub(super) fn not_here(&self) -> Vec<(&str, &str)> {
        self.said("NOT HERE: ")
    }

    fn said(&self, word: &str) -> Vec<(&str, &str)> {
        let lines = self.output.iter();
        let lines = lines.filter_map(|(_, line)| line.strip_prefix(word));
        lines
            .map(|line| line.split_once(": ").unwrap_or((line, "")))
            .collect()
    }

    /// Whether it ended as it should.
    pub(super) fn is_ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// `test NAME ... ok`.
fn test(line: &str) -> Option<Test> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match outcome.split(',').next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored,
        _ => return None,
    };
    Some(Test {
        name: name.to_owned(),
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
1200 kernel 6.12.117\r
1300 begin host\r
1400 out test a::b ... ok\r
1500 err SKIPPED: a::c: needs the package strace\r
1500 err NOT HERE: a::b: no such function\r
1500 out test a::c ... ok\r
1600 out test a::d ... FAILED\r
1700 out test a::e ... ignored, not here\r
1800 out test result: FAILED. 2 passed; 1 failed\r
1900 end 101\r
2000 begin facts
2100 out {\"a\":  1}
";

    #[test]
    fn what_a_guest_said_is_understood() {
        let report = Report::parse(SAID);
        assert_eq!(report.kernel.as_deref(), Some("6.12.117"));
        assert_eq!(report.booted, Duration::from_millis(1200));
        let host = report.run("host").unwrap();
        assert_eq!((host.code, host.is_ok()), (Some(101), false));
        assert_eq!(host.ended.abs_diff(host.began), Duration::from_millis(600));
        let outcomes: Vec<_> = host
            .tests()
            .into_iter()
            .map(|test| (test.name, test.outcome))
            .collect();
        assert_eq!(
            outcomes,
            [
                ("a::b".to_owned(), Outcome::Passed),
                ("a::c".to_owned(), Outcome::Passed),
                ("a::d".to_owned(), Outcome::Failed),
                ("a::e".to_owned(), Outcome::Ignored),
            ]
        );
        assert_eq!(host.skipped(), [("a::c", "needs the package strace")]);
        assert_eq!(host.not_here(), [("a::b", "no such function")]);
    }

    #[test]
    fn what_broke_off_is_no_success() {
        let report = Report::parse(SAID);
        let facts = report.run("facts").unwrap();
        assert_eq!(facts.stdout, ["{\"a\":  1}"]);
        assert_eq!((facts.code, facts.is_ok()), (None, false));
        assert!(!report.is_done);
        assert!(Report::parse(&format!("{SAID}3000 done\n")).is_done);
        assert_eq!(report.verdict, None);
        assert_eq!(Report::parse("9 verdict passed\r\n").verdict, Some(true));
        assert_eq!(Report::parse("9 verdict failed\n").verdict, Some(false));
        assert_eq!(Report::parse("\0\0garbage\n12\n"), Report::default());
    }
}

//! `trace`: what it shows while it happens, how it narrows, and how it ends.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mount_observer_tests::{Observer, Process, Sandbox, host_test, observer::binary, wait::within};
use nix::{libc, sys::signal::Signal};
use serde_json::Value;

use crate::{FAST, SOON, call, outcome};

/// To load and attach programs, several of them at a time on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A running trace, with its output in files: no pipe can fill up.
#[derive(Debug)]
pub(crate) struct Trace {
    process: Process,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Trace {
    pub(crate) fn start(sandbox: &Sandbox, name: &str, args: &[&str]) -> Self {
        let stdout = sandbox.path(format!("{name}.out"));
        let stderr = sandbox.path(format!("{name}.err"));
        let process = sandbox.spawn(binary(), |command| {
            command
                .arg("trace")
                .args(args)
                .stdout(File::create(&stdout).expect("a file"))
                .stderr(File::create(&stderr).expect("a file"));
        });
        Self {
            process,
            stdout,
            stderr,
        }
    }

    pub(crate) fn wait_until_ready(&self) {
        within(START, "the trace says what it traces", || {
            let said = fs::read_to_string(&self.stderr).ok()?;
            said.contains("tracing ").then_some(())
        });
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.stdout).expect("its output")
    }

    /// Every whole line so far.
    fn objects(&self) -> Vec<Value> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect()
    }

    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        within(SOON, what, || self.objects().into_iter().find(&is_it))
    }

    /// Ends it; what it showed.
    pub(crate) fn end(&self, signal: Signal) -> Vec<Value> {
        self.process.signal(signal);
        let status = self.process.exited_within(SOON).expect("it ends");
        let said = fs::read_to_string(&self.stderr).unwrap_or_default();
        assert_eq!(status.code(), Some(0), "{said}");
        self.objects()
    }
}

pub(crate) fn is_operation(object: &Value) -> bool {
    object["type"] == "operation"
}

#[test]
fn a_hang_shows_while_it_lasts_and_again_when_it_ends() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let at = mount.mount.path.display().to_string();
        let trace = Trace::start(sandbox, "trace", &["--json", "--mount", &at]);
        trace.wait_until_ready();
        mount.tell("LOOKUP hold");
        let victim = call(sandbox, "stat", &mount.mount.join("file"), &[]);
        let blocked = trace.wait_for("the hang is shown", |object| object["state"] == "blocked");
        assert_eq!(
            (&blocked["op"], &blocked["pid"], &blocked["errno"]),
            (&"LOOKUP".into(), &victim.pid().into(), &Value::Null),
            "{blocked}"
        );
        assert!(
            blocked["latency_ns"].as_u64() >= Some(1_000_000_000),
            "{blocked}"
        );
        assert_eq!(blocked["mount_point"], at.as_str());
        let is_same =
            |object: &Value| object["unique"] == blocked["unique"] && object["state"] == "ended";
        assert!(!trace.objects().iter().any(is_same), "it has not ended");
        mount.tell("LOOKUP answer");
        mount.tell("release");
        victim.output_within(SOON);
        let ended = trace.wait_for("the end is shown", is_same);
        assert_eq!(ended["was_blocked"], true, "{ended}");
        assert!(
            ended["latency_ns"].as_u64() >= blocked["latency_ns"].as_u64(),
            "{ended}"
        );
        let objects = trace.end(Signal::SIGINT);
        let summary = objects.last().expect("a summary");
        assert_eq!(summary["type"], "summary", "{summary}");
        assert_eq!(summary["blocked"], Value::Array(Vec::new()), "{summary}");
        let ended = objects.iter().filter(|object| object["state"] == "ended");
        assert_eq!(summary["count"], ended.count(), "{summary}");
        let told = objects.iter().filter(|object| object["state"] == "blocked");
        assert_eq!(told.count(), 1, "it is said once that it blocks");
    });
}

/// What tells an operation from others in every trace of the same time.
fn facts(object: &Value) -> String {
    let field = |name: &str| object[name].to_string();
    ["op", "pid", "errno", "unique", "file", "superblock"]
        .map(field)
        .join(" ")
}

/// A filter: its name, its options, and what it asks for.
type Asked<'a> = (&'a str, Vec<&'a str>, &'a dyn Fn(&Value) -> bool);

/// Reads a file to its end, or tries to.
fn cat(sandbox: &Sandbox, path: &Path) {
    let cat = sandbox.spawn("cat", |command| {
        command
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    });
    cat.exited_within(SOON).expect("cat ends");
}

/// Whether an object is about a mount below a directory.
fn is_below(object: &Value, directory: &str) -> bool {
    let place = object["mount_point"].as_str();
    place.is_some_and(|place| place.starts_with(directory))
}

#[test]
fn each_filter_shows_what_it_asks_for_of_what_there_is_beside_a_daemon() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let other = sandbox.faultfs("other");
        let _daemon = Observer::start(sandbox, FAST);
        let here = mount.mount.path.display().to_string();
        // Tests beside this one use mounts of their own.
        let ours = sandbox.path("").display().to_string();
        let is_ours = |object: &Value| is_operation(object) && is_below(object, &ours);
        let narrow: [Asked<'_>; 5] = [
            ("failed", vec!["--failed"], &|object| {
                object["errno"] != Value::Null
            }),
            ("errno", vec!["--errno", "EIO"], &|object| {
                object["errno"] == "EIO"
            }),
            ("op", vec!["--op", "LOOKUP", "--op", "READ"], &|object| {
                object["op"] == "LOOKUP" || object["op"] == "READ"
            }),
            ("comm", vec!["--comm", "ca*"], &|object| {
                object["comm"] == "cat"
            }),
            ("mount", vec!["--mount", &here], &|object| {
                object["mount_point"] == here.as_str()
            }),
        ];
        let whole = Trace::start(sandbox, "whole", &["--json", "--fstype", "fuse*"]);
        let traces: Vec<Trace> = (narrow.iter())
            .map(|(name, args, _)| {
                let scope = ["--json", "--fstype", "fuse*"];
                let args: Vec<&str> = scope.iter().chain(args).copied().collect();
                Trace::start(sandbox, name, &args)
            })
            .collect();
        traces
            .iter()
            .chain([&whole])
            .for_each(Trace::wait_until_ready);
        for known in [&mount, &other] {
            outcome(sandbox, "stat", &known.mount.join("file"), &[]);
            outcome(sandbox, "stat", &known.mount.join("missing"), &[]);
        }
        mount.tell(&format!("READ fail {}", libc::EIO));
        for known in [&mount, &other] {
            cat(sandbox, &known.mount.join("file"));
        }
        let is_last = |object: &Value| object["op"] == "RELEASE" && object["comm"] == "cat";
        let is_read = || {
            whole
                .objects()
                .iter()
                .filter(|object| is_ours(object) && is_last(object))
                .count()
                == 2
        };
        within(SOON, "both files are closed", || is_read().then_some(()));
        let all: Vec<Value> = whole.end(Signal::SIGTERM);
        let all: Vec<&Value> = all.iter().filter(|object| is_ours(object)).collect();
        assert!(all.len() > 10, "{all:#?}");
        for ((name, _, asks), trace) in narrow.iter().zip(&traces) {
            let wanted: Vec<String> = (all.iter())
                .filter(|object| asks(object))
                .map(|object| facts(object))
                .collect();
            let objects = trace.end(Signal::SIGHUP);
            let operations = objects.iter().filter(|object| is_ours(object));
            let shown: Vec<String> = operations.map(facts).collect();
            assert!(!wanted.is_empty(), "{name}: nothing to show");
            assert_eq!(shown, wanted, "{name}");
        }
    });
}

#[test]
fn it_ends_cleanly_when_it_has_enough_and_a_recording_comes_to_the_same() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let at = mount.mount.path.display().to_string();
        let recording = sandbox.path("trace.mor").display().to_string();
        let counted = [
            "--json", "--mount", &at, "--count", "5", "--record", &recording,
        ];
        let trace = Trace::start(sandbox, "counted", &counted);
        trace.wait_until_ready();
        let busy = call(
            sandbox,
            "stat",
            &mount.mount.join("missing"),
            &["--repeat=1000000", "--pause-ms=5"],
        );
        let status = trace.process.exited_within(SOON).expect("it ends");
        assert_eq!(status.code(), Some(0));
        let objects = trace.objects();
        assert_eq!(
            objects.iter().filter(|object| is_operation(object)).count(),
            5
        );
        let again = Trace::start(sandbox, "again", &["--json", "--summary-of", &recording]);
        let status = again.process.exited_within(SOON).expect("it ends");
        assert_eq!(status.code(), Some(0));
        let live = trace.text();
        assert_eq!(Some(again.text().trim_end()), live.lines().last());

        // A reader that has seen enough: no line of the summary goes anywhere, and nothing failed.
        let script = format!(
            "set -o pipefail; {} trace --mount {at} 2>/dev/null | head -3",
            binary().display()
        );
        let lines = sandbox.path("head.out");
        let head = sandbox.spawn("bash", |command| {
            command
                .args(["-c", &script])
                .stdout(File::create(&lines).expect("a file"));
        });
        let status = head.exited_within(START).expect("it ends");
        assert_eq!(status.code(), Some(0));
        let lines = fs::read_to_string(lines).expect("its output");
        assert_eq!(lines.lines().count(), 3, "{lines}");
        assert!(lines.starts_with("TIME (UTC)"), "{lines}");
        busy.signal(Signal::SIGKILL);
    });
}

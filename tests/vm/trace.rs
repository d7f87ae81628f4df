//! What a trace shows is what happened: each request once, with how it ended, and what blocks while it
//! does.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mount_observer_tests::{
    FaultFsMount, Need, Process, Sandbox, host_test,
    needs::say,
    observer::binary,
    scene::{SOON, call, outcome, wait_until_blocked},
    wait::{poll, within},
};
use nix::{libc, sys::signal::Signal};
use serde_json::Value;

/// Requests by opcode and errno (`-` for a success).
pub(crate) type Counts = BTreeMap<(String, String), u64>;

/// What the trace says about programs that did not run: on 7.0 and later one is preempted now and then.
const MISSED: &str = "runs_missed";

/// To load and attach programs, on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A trace at work.
pub(crate) struct Trace {
    process: Process,
    output: PathBuf,
}

impl Trace {
    /// Of all that happens on a mount; as soon as it sees everything.
    pub(crate) fn of(sandbox: &Sandbox, mount: &Path, options: &[&str]) -> Self {
        let output = sandbox.path("trace.json");
        let notes = sandbox.path("trace.notes");
        let (stdout, stderr) = (
            File::create(&output).expect("create a file"),
            File::create(&notes).expect("create a file"),
        );
        let process = sandbox.spawn(binary(), |command| {
            command
                .args(["trace", "--json", "--blocked-after=1s", "--mount"])
                .arg(mount)
                .args(options)
                .stdin(Stdio::null())
                .stdout(stdout)
                .stderr(stderr);
        });
        within(START, "the trace sees the mount", || {
            let notes = fs::read_to_string(&notes).ok()?;
            notes.contains("tracing 1 mount").then_some(())
        });
        Self { process, output }
    }

    /// What it has shown so far.
    fn objects(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).expect("the trace's output");
        // The last line may be half there.
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        lines
            .map(|line| serde_json::from_str(line).expect("an object on each line"))
            .collect()
    }

    /// FUSE requests that ended.
    pub(crate) fn ended(&self) -> Counts {
        let mut counts = Counts::new();
        for object in self.objects() {
            if object["type"] != "operation" || object["state"] != "ended" {
                continue;
            }
            let op = object["op"].as_str().expect("what ended is known");
            if op.starts_with(|first: char| first.is_ascii_uppercase()) {
                let errno = object["errno"].as_str().unwrap_or("-");
                *counts.entry((op.to_owned(), errno.to_owned())).or_default() += 1;
            }
        }
        counts
    }

    /// Waits until as many requests as that are shown; where some were missed, for a while.
    fn settles(&self, mut is_all: impl FnMut(u64) -> bool) {
        let all = poll(SOON, || is_all(self.ended().values().sum()).then_some(()));
        if all.is_none() {
            say("the trace shows fewer requests than there were");
        }
    }

    /// Threads of a process shown to block in one operation, as often as they are. On a busy machine other
    /// operations may, for a moment.
    fn blocked(&self, process: &Process, op: &str) -> Vec<u64> {
        let is_shown = |object: &&Value| {
            object["state"] == "blocked" && object["op"] == op && object["pid"] == process.pid()
        };
        let objects = self.objects();
        let shown = objects.iter().filter(is_shown);
        shown.filter_map(|object| object["tid"].as_u64()).collect()
    }

    /// Reads of a process shown to have ended after they were shown to block.
    fn ended_after_blocking(&self, process: &Process) -> u64 {
        let is_shown = |object: &&Value| {
            object["state"] == "ended"
                && object["op"] == "READ"
                && object["was_blocked"] == true
                && object["pid"] == process.pid()
        };
        let objects = self.objects();
        objects
            .iter()
            .filter(is_shown)
            .count()
            .try_into()
            .expect("few")
    }

    /// Ends it; its summary.
    pub(crate) fn summary(self) -> Value {
        self.process.signal(Signal::SIGINT);
        assert!(
            self.process
                .exited_within(SOON)
                .is_some_and(|status| status.success())
        );
        let summary = self.objects().pop().expect("a summary");
        assert_eq!(summary["type"], "summary", "{summary}");
        summary
    }
}

/// Runs of programs that the trace did not see.
fn summary_missed(summary: &Value) -> u64 {
    summary["lost"][MISSED].as_u64().unwrap_or(0)
}

/// How many are lacking, if the programs that missed them are counted as such.
///
/// # Panics
/// When more are shown than there were, or fewer than that explains.
fn lacking(shown: &Counts, wanted: &Counts, summary: &Value) -> u64 {
    let lost = &summary["lost"];
    for (key, count) in shown {
        let there = wanted.get(key).copied().unwrap_or(0);
        assert!(*count <= there, "{key:?}: {count} shown, {there} happened");
    }
    let sum = |counts: &Counts| counts.values().sum::<u64>();
    let lacking = sum(wanted) - sum(shown);
    let missed = summary_missed(summary);
    assert!(
        lacking <= missed,
        "{lacking} lacking: {lost}\nshown {shown:#?}\nwere {wanted:#?}"
    );
    assert_eq!(lost["records_lost"].as_u64().unwrap_or(0), 0, "{lost}");
    if lacking > 0 {
        say(&format!(
            "NOT EXACT: {lacking} of {} requests were missed, and {missed} counted as such",
            sum(wanted)
        ));
    }
    lacking
}

/// Ten thousand requests of a dozen kinds, a hundred of which fail and ten of which block. The server
/// counts what it is asked.
#[test]
fn a_trace_shows_each_request_as_its_server_counts_it() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let trace = Trace::of(sandbox, &mount.path, &[]);
        let before = served(&mut mount);
        let threads = ["--threads=4", "--repeat=250"];
        for (name, file) in [
            ("stat", "missing"),
            ("read", "file"),
            ("list", "directory"),
            ("access", "file"),
            ("statfs", ""),
        ] {
            outcome(sandbox, name, &mount.join(file), &threads);
        }
        mount.tell(&format!("READ fail {}", libc::EIO));
        let failed = outcome(
            sandbox,
            "read",
            &mount.join("file"),
            &["--threads=4", "--repeat=25"],
        );
        assert_eq!(failed, format!("{} 100", libc::EIO));
        mount.tell("READ hold");
        let waits = call(sandbox, "read", &mount.join("file2"), &["--threads=10"]);
        wait_until_blocked(&waits);
        within(SOON, "ten reads are shown while they block", || {
            (trace.blocked(&waits, "READ").len() == 10).then_some(())
        });
        mount.tell("release");
        mount.tell("READ answer");
        waits.exited_within(SOON).expect("the reads return");
        // RELEASE is nobody's request: it may come a little later.
        trace.settles(|shown| {
            let by_server = difference(&served(&mut mount), &before);
            let closed = by_server.get("RELEASE");
            closed == by_server.get("OPEN") && shown >= by_server.values().sum()
        });
        let by_server = difference(&served(&mut mount), &before);
        let (shown, blocked) = (trace.ended(), trace.blocked(&waits, "READ").len());
        let ended = trace.ended_after_blocking(&waits);
        let summary = trace.summary();
        let all: u64 = by_server.values().sum();
        assert!(all >= 10_000, "{by_server:?}");
        assert_eq!(blocked, 10);
        assert!(
            ended <= 10 && ended + summary_missed(&summary) >= 10,
            "{ended} of ten ended"
        );
        let by_opcode = by_operation(&shown);
        let wanted: Counts = by_server
            .into_iter()
            .map(|(op, count)| ((op, String::new()), count))
            .collect();
        let lacking = lacking(&by_opcode, &wanted, &summary);
        let errors = |op: &str, errno: &str| shown.get(&(op.to_owned(), errno.to_owned())).copied();
        let eio = errors("READ", "EIO").unwrap_or(0);
        assert!(eio <= 100 && eio + lacking >= 100, "{shown:#?}");
        assert!(
            summary["count"].as_u64() >= Some(shown.values().sum()),
            "{summary}"
        );
        let of_requests: u64 = shown.values().sum();
        say(&format!(
            "{of_requests} of {all} requests shown, {eio} EIO, {blocked} blocked"
        ));
    });
}

/// The same where nothing but the caller counts: each call that changes a name is one request.
#[test]
fn a_trace_of_bindfs_shows_each_call_that_its_caller_made() {
    const ROUNDS: u64 = 1_700;
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        let trace = Trace::of(sandbox, &mount.path, &[]);
        for round in 0..ROUNDS {
            change(&mount.path, round);
        }
        let full = mount.join("full");
        fs::create_dir(&full).expect("make a directory");
        fs::create_dir(full.join("directory")).expect("make a directory");
        for _ in 0..100 {
            let refused = fs::remove_dir(&full).expect_err("it is not empty");
            assert_eq!(refused.raw_os_error(), Some(libc::ENOTEMPTY));
        }
        mount.server.stop();
        let waits: Vec<_> = (0..10)
            .map(|_| call(sandbox, "statfs", &mount.path, &[]))
            .collect();
        within(SOON, "ten calls are shown while they block", || {
            waits
                .iter()
                .all(|wait| trace.blocked(wait, "STATFS").len() == 1)
                .then_some(())
        });
        mount.server.resume();
        for wait in waits {
            wait.exited_within(SOON).expect("it returns");
        }
        let changes = ROUNDS * 6 + 102;
        trace.settles(|shown| shown >= changes + ROUNDS);
        let shown = trace.ended();
        let summary = trace.summary();
        let wanted: Counts = [
            ("MKDIR", "-", ROUNDS + 2),
            ("CREATE", "-", ROUNDS),
            ("WRITE", "-", ROUNDS),
            ("RENAME2", "-", 0),
            ("RENAME", "-", ROUNDS),
            ("UNLINK", "-", ROUNDS),
            ("RMDIR", "-", ROUNDS),
            ("RMDIR", "ENOTEMPTY", 100),
        ]
        .into_iter()
        .map(|(op, errno, count)| ((op.to_owned(), errno.to_owned()), count))
        .filter(|(_, count)| *count > 0)
        .collect();
        let is_change = |op: &str| {
            matches!(
                op,
                "MKDIR" | "CREATE" | "WRITE" | "RENAME" | "RENAME2" | "UNLINK" | "RMDIR"
            )
        };
        let all: u64 = shown.values().sum();
        let shown: Counts = shown
            .into_iter()
            .filter(|((op, _), _)| is_change(op))
            .collect();
        lacking(&shown, &wanted, &summary);
        say(&format!(
            "{} changes shown, of {all} requests",
            shown.values().sum::<u64>()
        ));
    });
}

/// Makes and removes a directory and a file.
fn change(mount: &Path, round: u64) {
    let (directory, file) = (
        mount.join(format!("d{round}")),
        mount.join(format!("f{round}")),
    );
    fs::create_dir(&directory).expect("make a directory");
    // Not there before: the kernel asks for both at once.
    let mut new = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&file)
        .expect("make a file");
    new.write_all(b"content").expect("write");
    drop(new);
    let moved = mount.join(format!("m{round}"));
    fs::rename(&file, &moved).expect("rename a file");
    fs::remove_file(&moved).expect("remove a file");
    fs::remove_dir(&directory).expect("remove a directory");
}

/// What the server has seen so far.
fn served(mount: &mut FaultFsMount) -> BTreeMap<String, u64> {
    let answer = mount.tell("counts");
    let words: Vec<_> = answer.split_whitespace().collect();
    let pairs = words.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].to_owned(), pair[1].parse().expect("a count")))
        .collect()
}

/// The same whatever it ended with.
pub(crate) fn by_operation(shown: &Counts) -> Counts {
    let mut counts = Counts::new();
    for ((op, _), count) in shown {
        *counts.entry((op.clone(), String::new())).or_default() += count;
    }
    counts
}

/// What was added.
pub(crate) fn difference<Key: Clone + Ord>(
    after: &BTreeMap<Key, u64>,
    before: &BTreeMap<Key, u64>,
) -> BTreeMap<Key, u64> {
    let added = after.iter().map(|(key, count)| {
        let earlier = before.get(key).copied().unwrap_or(0);
        (key.clone(), count - earlier)
    });
    added.filter(|&(_, count)| count > 0).collect()
}

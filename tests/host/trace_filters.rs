//! What a trace is narrowed to by who asks, how long it takes, and one of so many.

use std::{num::NonZero, path::Path, thread::available_parallelism};

use mount_observer_tests::{Sandbox, host_test, scene::call};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    SOON,
    cause::Group,
    outcome,
    trace::{Trace, is_operation},
};

fn operations(objects: &[Value]) -> Vec<&Value> {
    objects
        .iter()
        .filter(|object| is_operation(object))
        .collect()
}

#[test]
fn of_a_process_a_control_group_or_what_takes_long_nothing_else_is_shown() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let file = mount.mount.join("file");
        let (inside, outside) = (
            sandbox.prepared("read", &file, &[]),
            sandbox.prepared("read", &file, &[]),
        );
        let hierarchies = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let test = "of_a_process_a_control_group_or_what_takes_long_nothing_else_is_shown";
        let Some(group) = Group::new(&hierarchies, test) else {
            return;
        };
        group.take(&inside.process);
        let pid = inside.process.pid();
        let traces = [
            ("cgroup", ["--cgroup".to_owned(), group.name()]),
            ("pid", ["--pid".to_owned(), pid.to_string()]),
            ("long", ["--min-latency".to_owned(), "300ms".to_owned()]),
        ];
        let traces = traces.map(|(name, args)| start(sandbox, &mount.mount.path, name, &args));
        mount.tell("READ delay 500");
        assert_eq!(outside.outcome(), "ok 1");
        assert_eq!(inside.outcome(), "ok 1");
        let is_read = |object: &Value| object["op"] == "READ" && object["pid"] == pid;
        let [in_group, of_process, long] = traces.map(|trace| {
            trace.wait_for("the read is shown", is_read);
            trace.end(Signal::SIGINT)
        });
        for objects in [&in_group, &of_process] {
            let shown = operations(objects);
            assert!(
                shown.iter().all(|object| object["pid"] == pid),
                "{shown:#?}"
            );
        }
        let shown = operations(&long);
        let reads = shown.iter().filter(|object| object["op"] == "READ").count();
        assert!(reads >= 2, "of both: {shown:#?}");
        let is_long = |object: &&Value| object["latency_ns"].as_u64() >= Some(300_000_000);
        assert!(shown.iter().all(is_long), "{shown:#?}");
    });
}

/// The kernel side takes one of four, on each processor, of what the filter admits.
#[test]
fn one_of_so_many_is_shown_and_the_rest_is_counted() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let args = ["--errno", "ENOENT", "--sample", "1/4"].map(str::to_owned);
        let trace = start(sandbox, &mount.mount.path, "sample", &args);
        let missing = mount.mount.join("missing");
        let busy = call(sandbox, "stat", &missing, &["--repeat=400"]);
        busy.exited_within(SOON).expect("it ends");
        let once_more = outcome(sandbox, "stat", &missing, &["--repeat=8"]);
        assert!(once_more.ends_with(" 8"), "{once_more}");
        let objects = trace.end(Signal::SIGINT);
        let summary = objects.last().expect("a summary");
        let shown = operations(&objects).len();
        let shown = u64::try_from(shown).expect("few");
        let left_out = summary["lost"]["sampled_out"].as_u64().expect("a count");
        assert_eq!(summary["count"], shown, "{summary}");
        // Each stat is a system call and a request, both of which fail.
        assert_eq!((shown + left_out) / 816, 1, "{shown} and {left_out}");
        let fourth = (shown + left_out) / 4;
        let processors = available_parallelism().map_or(1, NonZero::get);
        let processors = u64::try_from(processors).expect("few");
        assert!(
            (fourth - processors..=fourth).contains(&shown),
            "{shown} of {fourth}"
        );
    });
}

/// A trace of one mount, once it sees it.
fn start(sandbox: &Sandbox, mount: &Path, name: &str, args: &[String]) -> Trace {
    let at = mount.display().to_string();
    let mut words = vec!["--json", "--mount", &at];
    words.extend(args.iter().map(String::as_str));
    let trace = Trace::start(sandbox, name, &words);
    trace.wait_until_ready();
    trace
}

//! The other commands, and what `run` does when it cannot, or is told something new.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::Duration,
};

use mount_observer_tests::{
    Need, Observer, Process, Sandbox, host_test, http,
    needs::{program, say},
    observer::binary,
    wait::now,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{SOON, call, wait_until_blocked, wait_until_ok};

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    took: Duration,
}

/// Runs a program to its end, with its output in files: no pipe can fill up.
pub(crate) fn run(sandbox: &Sandbox, words: &[&str]) -> Outcome {
    let (program, args) = words.split_first().expect("a program");
    let (stdout, stderr) = (sandbox.path("stdout"), sandbox.path("stderr"));
    let started = now();
    let process: Process = sandbox.spawn(program, |command| {
        command
            .args(args)
            .stdout(File::create(&stdout).expect("a file"))
            .stderr(File::create(&stderr).expect("a file"));
    });
    let status = process.exited_within(SOON).expect("it ends");
    let took = started.elapsed();
    let text = |path: PathBuf| fs::read_to_string(path).expect("its output");
    Outcome {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
        took,
    }
}

pub(crate) fn observer_words<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec![binary().to_str().expect("a path in UTF-8")];
    words.extend(args);
    words
}

#[test]
fn one_look_without_a_daemon_names_the_dead_and_the_hung() {
    host_test(&[Need::Bindfs], |sandbox| {
        let (dead, hung) = (sandbox.bindfs("dead", &[]), sandbox.bindfs("hung", &[]));
        let fine = sandbox.faultfs("fine");
        dead.server.signal(Signal::SIGKILL);
        assert!(dead.server.exited_within(SOON).is_some());
        hung.server.stop();
        let victim = call(sandbox, "stat", &hung.join("file"), &[]);
        wait_until_blocked(&victim);

        let table = run(sandbox, &observer_words(&["status"]));
        assert_eq!(table.code, Some(0), "{table:?}");
        for (mount, state) in [(&dead, "dead"), (&hung, "hung"), (&fine.mount, "ok")] {
            let path = mount.path.display().to_string();
            let line = table.stdout.lines().find(|line| line.contains(&path));
            let line = line.unwrap_or_else(|| panic!("no {path} in {table:?}"));
            assert!(line.starts_with(state), "{line}");
        }
        let last = table.stdout.lines().last().expect("some output");
        assert!(
            last.starts_with("Checked ") && last.contains(" dead"),
            "{last}"
        );
        say(&format!("FIGURE: status took {:?}", table.took));

        let json = run(sandbox, &observer_words(&["status", "--json"]));
        let snapshot: Value = serde_json::from_str(&json.stdout).expect("JSON");
        let superblocks = snapshot["superblocks"].as_array().expect("a list");
        let seen = superblocks
            .iter()
            .find(|superblock| superblock["id"] == hung.dev);
        let seen = seen.expect("the hung one");
        assert_eq!(seen["state"], "hung", "{seen:#}");
        assert_eq!(seen["requests"][0]["pid"], victim.pid(), "{seen:#}");

        let nagios = run(sandbox, &observer_words(&["status", "--nagios"]));
        assert_eq!(nagios.code, Some(2), "{nagios:?}");
        assert!(
            nagios.stdout.starts_with("MOUNTS CRITICAL - "),
            "{nagios:?}"
        );
        assert_eq!(nagios.stdout.lines().count(), 1, "{nagios:?}");
    });
}

#[test]
fn without_privilege_each_command_names_the_capability_that_is_missing() {
    host_test(&[], |sandbox| {
        let setpriv = program("setpriv").expect("util-linux");
        let setpriv = setpriv.to_str().expect("a path in UTF-8");
        // The checkout may be out of reach of others.
        let copy = sandbox.path("mount-observer");
        fs::copy(binary(), &copy).expect("copy the binary");
        let copy = copy.to_str().expect("a path in UTF-8");
        open_to_others(sandbox);
        let mut words = vec![
            setpriv,
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            copy,
        ];
        for (command, code) in [("run", 1), ("status", 1), ("check", 3)] {
            words.push(command);
            let refused = run(sandbox, &words);
            words.pop();
            assert_eq!(refused.code, Some(code), "{command}: {refused:?}");
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert!(
                said.contains("CAP_BPF") && said.contains("CAP_PERFMON"),
                "{command}: {said}"
            );
        }
    });
}

/// A temporary directory is private to its owner.
fn open_to_others(sandbox: &Sandbox) {
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(sandbox.path(""), readable).expect("chmod");
}

#[test]
fn a_second_observer_on_the_same_port_says_so_and_ends() {
    host_test(&[], |sandbox| {
        let observer = Observer::start(sandbox, "");
        let listen = format!("--web.listen-address=127.0.0.1:{}", observer.port);
        let refused = run(sandbox, &observer_words(&["run", &listen]));
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains(&observer.port.to_string()),
            "{refused:?}"
        );
    });
}

#[test]
fn a_bad_configuration_on_reload_is_reported_and_changes_nothing() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        fs::write(&observer.config, "[detect]\nhung_aftr = \"1s\"\n").expect("write");
        observer.process.signal(Signal::SIGHUP);
        let complaint = observer.look(SOON, || {
            let lines = observer.log_lines();
            // It names the key that was meant.
            lines
                .into_iter()
                .find(|line| line.contains("hung_aftr") && line.contains("hung_after"))
        });
        assert!(complaint.is_some(), "{}", observer.log_text());
        assert_eq!(
            observer.superblock(&mount.dev).expect("there").state(),
            "ok"
        );

        // A good one takes effect: the mount leaves the scope.
        fs::write(
            &observer.config,
            "[scope]\nexclude_fstypes = [\"fuse.faultfs\"]\n",
        )
        .expect("write");
        observer.process.signal(Signal::SIGHUP);
        observer.wait_until_gone(&mount.dev, SOON);
        let (status, _) = http::get(observer.port, "/-/healthy").expect("an answer");
        assert_eq!(status, 200);
    });
}

//! `explain PATH`: all there is to say about a path, without asking whoever serves it.

use mount_observer_tests::{Need, host_test};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    SOON, call,
    command_line::{observer_words, run},
    wait_until_blocked,
};

#[test]
fn a_path_on_a_hung_mount_names_its_server_who_waits_who_holds_it_and_what_to_do() {
    host_test(&[Need::Bindfs], |sandbox| {
        let hung = sandbox.bindfs("hung", &[]);
        hung.server.stop();
        let victim = call(sandbox, "stat", &hung.join("file"), &[]);
        wait_until_blocked(&victim);
        let path = hung.join("missing/../file").display().to_string();
        let said = run(sandbox, &observer_words(&["explain", "--json", &path]));
        assert_eq!(said.code, Some(0), "{said:?}");
        let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!(said["path"], hung.join("file").display().to_string());
        assert_eq!(said["mount_point"], hung.path.display().to_string());
        assert_eq!(said["in_filesystem"], "/file");
        assert_eq!(said["device_number"], hung.dev);
        assert_eq!(said["is_in_scope"], true);
        let superblock = &said["superblock"];
        assert_eq!(superblock["state"], "hung", "{superblock:#}");
        assert_eq!(superblock["fuse"]["servers"][0]["pid"], hung.server.pid());
        assert_eq!(superblock["requests"][0]["pid"], victim.pid());
        assert_eq!(superblock["blocked_tasks"][0]["pid"], victim.pid());
        let advice = superblock["advice"].as_str().expect("text");
        assert!(advice.contains("kill -CONT"), "{advice}");

        let said = run(sandbox, &observer_words(&["explain", &path]));
        let words = [
            "hung",
            "bindfs[",
            " by victim[",
            "request_wait_answer",
            "to do",
        ];
        for word in words {
            assert!(said.stdout.contains(word), "{word} in {said:?}");
        }
    });
}

#[test]
fn a_dead_mount_is_explained_and_nobody_is_asked_for_the_path() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let inside = mount.join("directory").display().to_string();
        let holder = sandbox.spawn("sleep", |command| {
            command.arg("1000").current_dir(&inside);
        });
        let before = mount.tell("counts");
        let said = run(sandbox, &observer_words(&["explain", "--json", &inside]));
        assert_eq!(mount.tell("counts"), before, "the server was asked");
        let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
        let held = said["openers"]["processes"].as_array().expect("a list");
        let held = held.iter().find(|opener| opener["pid"] == holder.pid());
        assert_eq!(held.expect("the holder")["works_there"], true, "{said:#}");

        mount.crash();
        let said = run(sandbox, &observer_words(&["explain", &inside]));
        assert!(said.stdout.contains("state       dead"), "{said:?}");
        assert!(said.stdout.contains("unmount it"), "{said:?}");
        holder.signal(Signal::SIGKILL);
        assert!(holder.exited_within(SOON).is_some());
    });
}

#[test]
fn what_is_not_observed_is_explained_too_and_what_is_no_path_is_refused() {
    host_test(&[], |sandbox| {
        let said = run(sandbox, &observer_words(&["explain", "/proc/1/x"]));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("/proc: proc from"), "{said:?}");
        assert!(said.stdout.contains("not observed by a daemon"), "{said:?}");
        let said = run(sandbox, &observer_words(&["explain", ""]));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("is no path"), "{said:?}");
    });
}

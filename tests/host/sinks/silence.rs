//! Silences and rehearsals, from the command line.

use std::{fs, path::Path, process::Command};

use mount_observer_tests::{
    Observer, Sandbox, host_test,
    observer::binary,
    receivers::{Received, Webhooks, free_port},
    wait::patience,
};
use serde_json::Value;

use super::{LATER, SOON, healthy, kill, observe_with, take_away};

/// Exit code and standard output of a command on the storage of an observer.
fn tell(storage: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(words)
        .arg(format!("--storage.path={}", storage.display()))
        .output()
        .expect("run the observer");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// What `status` says with that storage.
fn status(sandbox: &Sandbox, storage: &Path) -> String {
    let config = sandbox.path("status.toml");
    let text = format!("[storage]\npath = {:?}\n", storage.display().to_string());
    fs::write(&config, text).expect("write");
    let mut command = Command::new(binary());
    let output = command.arg("status").arg("--config").arg(&config).output();
    String::from_utf8_lossy(&output.expect("run").stdout).into_owned()
}

fn kept_back(observer: &Observer) -> Option<u64> {
    observer.counter("mount_observer_alerts_kept_back{why=\"silence\"}")
}

fn start(sandbox: &Sandbox, receiver: &Webhooks) -> Observer {
    let config = format!(
        "[[webhook]]\nurl = \"http://127.0.0.1:{}/\"\n",
        receiver.port
    );
    observe_with(sandbox, &config, Some(sandbox.path("storage")))
}

#[test]
fn a_silenced_alert_is_shown_and_told_when_the_silence_ends_over_a_restart_too() {
    host_test(&[], |sandbox| {
        let receiver = Webhooks::start();
        let storage = sandbox.path("storage");
        let observer = start(sandbox, &receiver);
        let (one, two) = (
            healthy(sandbox, &observer, "one"),
            healthy(sandbox, &observer, "two"),
        );
        let (code, said) = tell(
            &storage,
            &[
                "silence",
                "--mount",
                "*/two",
                "--for",
                "1h",
                "--reason",
                "moving\nhouse",
            ],
        );
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with(": moving\\nhouse\n"), "{said}");
        let id = said.split(' ').next().expect("an id").to_owned();
        let counted = observer.look(patience(SOON), || {
            (observer.counter("mount_observer_silences") == Some(1)).then_some(())
        });
        assert!(counted.is_some(), "{}", observer.log_text());
        kill(&two);
        observer.wait_for_transition(&two.dev, "dead", "firing", SOON);
        kill(&one);
        let told = receiver.wait_for(1, SOON)[0].json();
        assert_eq!(told["mountpoint"], one.path.display().to_string());
        observer.look(patience(SOON), || {
            (kept_back(&observer) == Some(1)).then_some(())
        });
        assert_eq!(kept_back(&observer), Some(1), "{}", observer.log_text());

        observer.process.signal(nix::sys::signal::Signal::SIGTERM);
        let ended = observer.process.exited_within(LATER);
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        let before = receiver.received().len();
        let observer = start(sandbox, &receiver);
        observer.wait_for_state(&two.dev, "dead", SOON);
        observer.look(patience(SOON), || {
            (kept_back(&observer) == Some(1)).then_some(())
        });
        assert_eq!(kept_back(&observer), Some(1), "{}", observer.log_text());
        let of_two = |from: usize| {
            let all = receiver.received();
            let notices = all.iter().skip(from).map(Received::json);
            let point = Value::from(two.path.display().to_string());
            notices.filter(|it| it["mountpoint"] == point).count()
        };
        assert_eq!(of_two(0), 0, "{:#?}", receiver.received());

        let said = status(sandbox, &storage);
        assert!(
            said.contains(&format!("Silenced: {id} */two until ")),
            "{said}"
        );
        let (code, said) = tell(&storage, &["silence", "list"]);
        assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
        let (code, said) = tell(&storage, &["silence", "end", &id]);
        assert_eq!(code, Some(0), "{said}");
        let told = observer.look(patience(SOON), || (of_two(before) == 1).then_some(()));
        assert!(told.is_some(), "{}", observer.log_text());
        take_away(&two);
        let told = observer.look(patience(SOON), || (of_two(before) == 2).then_some(()));
        assert!(told.is_some(), "{}", observer.log_text());
    });
}

#[test]
fn a_drill_goes_through_every_sink_and_says_which_failed() {
    host_test(&[], |sandbox| {
        let receiver = Webhooks::start();
        let directory = sandbox.directory("textfile");
        let storage = sandbox.path("storage");
        let config = sandbox.path("drill.toml");
        let text = format!(
            "[[webhook]]\nurl = \"http://127.0.0.1:{}/\"\nmount_points = [\"/nowhere\"]\n\
             [[textfile]]\ndirectory = \"{}\"\n\
             [[exec]]\ncommand = [\"/bin/cat\"]\n",
            receiver.port,
            directory.display()
        );
        fs::write(&config, &text).expect("write");
        let path = config.display().to_string();
        let drill = [
            "drill",
            "--kind",
            "dead",
            "--mount",
            "/srv/no\nsuch",
            "--config",
            &path,
        ];
        let (code, said) = tell(&storage, &drill);
        assert_eq!(code, Some(0), "{said}");
        for sink in ["webhook", "textfile", "exec"] {
            let line = format!("{sink}: firing delivered; resolved delivered\n");
            assert!(said.contains(&line), "{said}");
        }
        assert!(said.contains("incident: "), "{said}");
        let told: Vec<Value> = receiver
            .wait_for(2, SOON)
            .iter()
            .map(Received::json)
            .collect();
        assert_eq!(told[0]["status"], "firing");
        assert_eq!(told[1]["status"], "resolved");
        assert!(told.iter().all(|it| it["is_drill"] == true), "{told:#?}");
        let line = told[0]["line"].as_str().expect("a line");
        assert!(
            line.starts_with("DRILL CRITICAL dead $'/srv/no\\x0asuch'"),
            "{line}"
        );

        let absent = free_port();
        fs::write(
            &config,
            format!("{text}[[webhook]]\nname = \"absent\"\nurl = \"http://127.0.0.1:{absent}\"\n"),
        )
        .expect("write");
        let (code, said) = tell(&storage, &drill);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("absent: firing FAILED ("), "{said}");
        assert!(said.contains("webhook: firing delivered"), "{said}");
    });
}

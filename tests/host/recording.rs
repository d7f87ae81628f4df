//! `--record` and the flight recorder: whatever becomes of the observer or its disk, what was recorded can
//! be read, and says what it lacks.

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use mount_observer_tests::{
    Observer, host_test,
    observer::{Options, binary},
    recording::{end, expect_same, recorded, replay},
    scene::{SOON, wait_until_ok},
    wait::within,
};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};

#[test]
fn a_recording_of_a_killed_observer_is_read_up_to_there() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let (observer, file) = recorded(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.server.signal(Signal::SIGKILL);
        let told = observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        within(SOON, "the alert is in the file", || {
            (!replay(&file).alerts_of(&mount.path).is_empty()).then_some(())
        });
        observer.process.signal(Signal::SIGKILL);
        assert!(observer.process.exited_within(SOON).is_some());
        let replayed = replay(&file);
        assert_eq!(replayed.code, 3, "{}", replayed.complaints);
        assert!(
            replayed.complaints.contains("cut off at byte"),
            "{}",
            replayed.complaints
        );
        assert_eq!(replayed.alerts_of(&mount.path), [told.text("message")]);
    });
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_observer() {
    host_test(&[], |sandbox| {
        let disk = sandbox.directory("disk");
        let options = Some("size=64k");
        mount(
            Some("tmpfs"),
            &disk,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .expect("a tmpfs");
        let file = disk.join("session.mor");
        let mount = sandbox.faultfs("mount");
        let options = Options {
            arguments: vec![format!("--record={}", file.display())],
            ..Options::default()
        };
        let observer = Observer::start_with(sandbox, &options);
        wait_until_ok(&observer, &mount.dev);
        // What it takes to fill the disk is written by somebody else.
        fs::write(disk.join("filler"), vec![0; 1 << 20]).expect_err("the disk is full");
        let is_told = observer.look(SOON * 2, || {
            let snapshot = observer.snapshot();
            let words = snapshot["observer"]["degraded"].to_string();
            words.contains("No space left on device").then_some(())
        });
        assert!(is_told.is_some(), "{}", observer.log_text());
        mount.server.signal(Signal::SIGKILL);
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        observer.process.signal(Signal::SIGTERM);
        let ended = observer.process.exited_within(SOON).expect("it ends");
        assert_eq!(ended.code(), Some(1), "{}", observer.log_text());
        let replayed = replay(&file);
        assert_eq!(replayed.code, 3, "{}", replayed.complaints);
        assert!(
            replayed.complaints.contains("cut off"),
            "{}",
            replayed.complaints
        );
        nix::mount::umount(&disk).expect("nothing holds it");
    });
}

#[test]
fn a_recording_on_an_observed_mount_or_over_a_file_is_refused() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        mount.server.stop();
        let refused = |file: &std::path::Path| {
            let output = Command::new(binary())
                .args(["run", "--storage.path=", "--web.listen-address=127.0.0.1:0"])
                .arg(format!("--record={}", file.display()))
                .output()
                .expect("run it");
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let said = refused(&mount.join("session.mor"));
        assert!(said.contains("which is observed and may hang"), "{said}");
        let file = sandbox.directory("there").join("session.mor");
        fs::write(&file, "something").expect("write");
        let said = refused(&file);
        assert!(said.contains("--record.overwrite"), "{said}");
        assert_eq!(fs::read(&file).expect("read"), b"something");
        mount.server.resume();
    });
}

/// Half a minute before the failure, as promised, and some more.
#[test]
fn the_flight_recorder_saves_what_led_to_an_alert() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "[record]\nflight_after = \"2s\"\n");
        wait_until_ok(&observer, &mount.dev);
        observer.stays(&mount.dev, Duration::from_secs(32), "ok", |seen| {
            seen.state() == "ok"
        });
        mount.server.signal(Signal::SIGKILL);
        let told = observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        let incident = told.text("incident").to_owned();
        let file = observer
            .storage
            .join("recordings")
            .join(format!("{incident}.mor"));
        within(SOON, "it is saved", || fs::read(&file).ok());
        let replayed = replay(&file);
        assert_eq!(replayed.code, 0, "{}", replayed.complaints);
        assert_eq!(replayed.alerts_of(&mount.path), [told.text("message")]);
        let output = Command::new(binary())
            .args(["replay", "--info", "--json"])
            .arg(&file)
            .output()
            .expect("run it");
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        let info: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        let mut incidents = replayed.of("incident");
        let own = incidents.find(|known| known["incident"]["id"] == *incident);
        let own = own.expect("the incident");
        let began = own["incident"]["started_unix_ns"].as_u64();
        let began = began.expect("a time");
        let first = info["first_unix_ns"].as_u64().expect("a time");
        assert!(began - first >= 30_000_000_000, "{} ns", began - first);
        end(&observer);
    });
}

/// A reader that has seen enough ends a replay well; what is damaged is told apart.
#[test]
fn a_replay_survives_its_reader_and_damage() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let (observer, file) = recorded(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.server.signal(Signal::SIGKILL);
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        end(&observer);
        expect_same(&observer, &file);
        let mut child = Command::new(binary())
            .arg("replay")
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("run it");
        let mut first = [0];
        let mut pipe = child.stdout.take().expect("piped");
        pipe.read_exact(&mut first).expect("a byte");
        drop(pipe);
        assert!(child.wait().expect("it ends").success());

        let mut bytes = fs::read(&file).expect("read");
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        fs::write(&file, &bytes).expect("write");
        let replayed = replay(&file);
        assert_eq!(replayed.code, 3);
        assert!(
            replayed.complaints.contains("damaged at byte"),
            "{}",
            replayed.complaints
        );
        assert_eq!(replayed.alerts_of(&mount.path).len(), 1);
    });
}

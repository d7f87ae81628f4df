//! A mount that should be there and is not, and what is written underneath meanwhile.

use mount_observer_tests::{Observer, Sandbox, host_test, http, wait::within};
use nix::mount::{MntFlags, umount2};
use serde_json::Value;

use crate::{SOON, outcome, wait_until_ok};

const EXPECTING: &str = r#"
[detect]
clear_after = "1s"
[expect]
missing_after = "1s"
"#;

/// The configuration that expects these mounts.
fn expecting(sandbox: &Sandbox, names: &[&str]) -> String {
    let paths = names
        .iter()
        .map(|name| sandbox.path(name).display().to_string());
    let paths: Vec<_> = paths.collect();
    format!("{EXPECTING}mount_points = {paths:?}\n")
}

/// What the snapshot says of one that is expected.
fn expected(observer: &Observer, place: usize) -> Value {
    observer.snapshot()["expected"][place].clone()
}

fn wait_for_alert(observer: &Observer, place: usize, alert: &Value) -> Value {
    within(SOON, &format!("alert {alert}"), || {
        let mount = expected(observer, place);
        (mount["alert"] == *alert).then_some(mount)
    })
}

/// The log's transitions of one mount point: kind and what became of it.
fn told(observer: &Observer, path: &str) -> Vec<(String, String)> {
    let transitions = observer.transitions();
    let about = transitions
        .iter()
        .filter(|transition| transition.text("mountpoint") == path);
    about
        .map(|transition| {
            let change = transition.text("alert").to_owned();
            (transition.text("state").to_owned(), change)
        })
        .collect()
}

#[test]
fn a_mount_that_goes_is_missing_until_it_is_back_and_is_never_touched() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, &expecting(sandbox, &["mount", "never"]));
        wait_until_ok(&observer, &mount.dev);
        assert_eq!(expected(&observer, 0)["is_present"], true);
        let never = wait_for_alert(&observer, 1, &"missing".into());
        assert_eq!(never["shadow_writes"], 0, "{never:#}");
        umount2(&mount.path, MntFlags::MNT_DETACH).expect("umount -l");
        let missing = wait_for_alert(&observer, 0, &"missing".into());
        assert_eq!(missing["is_present"], false, "{missing:#}");
        let metrics = http::get(observer.port, "/metrics").expect("metrics").1;
        let path = mount.path.display();
        let present = format!("mount_observer_expected_mount_present{{mountpoint=\"{path}\"}} 0");
        assert!(metrics.contains(&present), "{metrics}");
        let back = sandbox.faultfs("mount");
        wait_for_alert(&observer, 0, &Value::Null);
        assert_eq!(expected(&observer, 0)["is_present"], true);
        let path = mount.path.display().to_string();
        let told = told(&observer, &path);
        assert!(told.iter().all(|(kind, _)| kind == "missing"), "{told:?}");
        drop(back);
    });
}

#[test]
fn what_is_written_underneath_a_missing_mount_is_counted_and_told_with_its_writer() {
    host_test(&[], |sandbox| {
        let place = sandbox.directory("mount");
        let observer = Observer::start(sandbox, &expecting(sandbox, &["mount"]));
        wait_for_alert(&observer, 0, &"missing".into());
        // Its program is attached within a moment of the mount's absence.
        within(SOON, "the program", || {
            let snapshot = observer.snapshot();
            let probes = snapshot["observer"]["probes"].as_array()?.clone();
            let mut probes = probes.into_iter();
            probes.find(|probe| probe["probe"] == "shadow_writes" && probe["kind"] == "tp_btf")
        });
        let before = outcome(sandbox, "read", &place.join("nothing"), &[]);
        assert_eq!(before, "2 1", "ENOENT");
        assert_eq!(expected(&observer, 0)["alert"], "missing");
        let file = place.join("lost.warc");
        assert_eq!(outcome(sandbox, "write", &file, &["--repeat=3"]), "ok 3");
        let shadow = wait_for_alert(&observer, 0, &"shadow_writes".into());
        assert!(
            shadow["underneath"]["entries"][0]["path"] == file.display().to_string().as_str(),
            "{shadow:#}"
        );
        assert_eq!(
            shadow["underneath"]["entries"][0]["comm"], "victim",
            "{shadow:#}"
        );
        let counted = within(SOON, "one open for writing", || {
            let mount = expected(&observer, 0);
            (mount["shadow_writes"] == 1).then_some(mount)
        });
        assert_eq!(counted["underneath"]["dropped"], 0, "{counted:#}");
        let mount = sandbox.faultfs("mount");
        wait_for_alert(&observer, 0, &Value::Null);
        // On the mount itself.
        outcome(sandbox, "write", &mount.join("file"), &[]);
        assert_eq!(expected(&observer, 0)["shadow_writes"], 1);
    });
}

/// A relative path says nothing of where it leads: the file is found by looking at those that are open.
#[test]
fn a_file_open_for_writing_underneath_is_found_whatever_its_path_was() {
    host_test(&[], |sandbox| {
        let place = sandbox.directory("mount");
        let from = ["--from".as_ref(), place.as_os_str()];
        let writer = sandbox.prepared("write", "lost".as_ref(), &from);
        let observer = Observer::start(sandbox, &expecting(sandbox, &["mount"]));
        let shadow = wait_for_alert(&observer, 0, &"shadow_writes".into());
        let entry = &shadow["underneath"]["entries"][0];
        assert_eq!(
            entry["path"],
            place.join("lost").display().to_string().as_str()
        );
        assert_eq!(entry["pid"], writer.process.pid());
        assert_eq!(shadow["shadow_writes"], 0, "{shadow:#}");
    });
}

//! Alertmanager, Debian's, read with its own tool.

use std::{fs, path::Path, process::Command, time::Duration};

use mount_observer_tests::{
    Observer, Process, Sandbox, host_test, http,
    receivers::{Webhooks, free_port, receiver, unpacked},
    wait::{patience, poll, within},
};
use nix::mount::{MsFlags, mount};
use serde_json::Value;

use super::{LATER, SOON, healthy, kill, observe, take_away};

/// An Alertmanager that passes on everything at once.
fn start(sandbox: &Sandbox, program: &Path, port: u16, webhooks: &Webhooks) -> Process {
    let config = sandbox.path(format!("alertmanager-{port}.yml"));
    let text = format!(
        "route: {{ receiver: ours, group_by: ['...'], group_wait: 0s, group_interval: 1s }}\n\
         receivers:\n- name: ours\n  webhook_configs:\n\
         \x20 - {{ url: 'http://127.0.0.1:{}/', send_resolved: true }}\n",
        webhooks.port
    );
    fs::write(&config, text).expect("write");
    bring_templates();
    let data = sandbox.directory(format!("alertmanager-{port}"));
    let process = sandbox.spawn(program, |command| {
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
    });
    within(LATER, "Alertmanager is ready", || {
        matches!(http::get(port, "/-/ready"), Ok((200, _))).then_some(())
    });
    process
}

/// Debian's reads a template from a place of its own; where it is only unpacked, this sandbox gets it
/// there.
fn bring_templates() {
    let place = Path::new("/usr/share/prometheus/alertmanager/default.tmpl");
    if fs::File::open(place).is_ok() {
        return;
    }
    let layers = format!(
        "lowerdir={}:/usr/share",
        unpacked().join("usr/share").display()
    );
    let overlay = Some("overlay");
    mount(
        overlay,
        "/usr/share",
        overlay,
        MsFlags::MS_RDONLY,
        Some(layers.as_str()),
    )
    .expect("mount an overlay");
}

/// What its own tool shows.
fn amtool(program: &Path, port: u16) -> Vec<Value> {
    let output = Command::new(program)
        .args(["alert", "query", "--output=json"])
        .arg(format!("--alertmanager.url=http://127.0.0.1:{port}"))
        .output()
        .expect("run amtool");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[track_caller]
fn wait_for_alerts(
    observer: &Observer,
    program: &Path,
    port: u16,
    count: usize,
    deadline: Duration,
) -> Vec<Value> {
    let found = poll(patience(deadline), || {
        let alerts = amtool(program, port);
        (alerts.len() == count).then_some(alerts)
    });
    let seen = || {
        let log = observer.log_text();
        format!("not {count} alerts: {:#?}\n{log}", amtool(program, port))
    };
    assert!(found.is_some(), "{}", seen());
    found.unwrap_or_default()
}

#[test]
fn every_member_of_a_cluster_gets_the_present_state_after_an_outage_too() {
    host_test(&[], |sandbox| {
        let test = "every_member_of_a_cluster_gets_the_present_state_after_an_outage_too";
        let package = "prometheus-alertmanager";
        let Some(program) = receiver(test, package, "prometheus-alertmanager") else {
            return;
        };
        let Some(amtool) = receiver(test, package, "amtool") else {
            return;
        };
        let webhooks = Webhooks::start();
        let (up, down) = (free_port(), free_port());
        let _up = start(sandbox, &program, up, &webhooks);
        let config = format!(
            "[[alertmanager]]\nurls = [\"http://127.0.0.1:{up}\", \"http://127.0.0.1:{down}/\"]\n\
             labels = {{ team = \"storage\" }}\nresend_every = \"2s\"\n"
        );
        let observer = observe(sandbox, &config);
        let one = healthy(sandbox, &observer, "o\"n\ne");
        let two = healthy(sandbox, &observer, "two");
        kill(&one);
        let alert = wait_for_alerts(&observer, &amtool, up, 1, SOON).remove(0);
        let labels = &alert["labels"];
        assert_eq!(labels["alertname"], "MountDead", "{alert:#}");
        assert_eq!(labels["severity"], "critical");
        // Escaped: no newline in a label.
        let point = one.path.display().to_string().replace('\n', "\\n");
        assert_eq!(labels["mountpoint"], point);
        assert_eq!(labels["superblock"], one.dev);
        assert_eq!(labels["team"], "storage");
        let summary = alert["annotations"]["summary"].as_str().expect("a summary");
        assert!(summary.starts_with("CRITICAL dead "), "{summary}");
        // Members are apart: what one lacks delays nothing for the other.
        take_away(&one);
        wait_for_alerts(&observer, &amtool, up, 0, SOON);
        let fired = webhooks.wait_for(1, SOON)[0].json();
        assert_eq!(fired["status"], "firing", "{fired:#}");
        let ended = webhooks.wait_for(2, SOON)[1].json();
        assert_eq!(ended["status"], "resolved", "{ended:#}");
        assert_ne!(ended["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");

        kill(&two);
        wait_for_alerts(&observer, &amtool, up, 1, SOON);
        let late = Webhooks::start();
        let _down = start(sandbox, &program, down, &late);
        let alert = wait_for_alerts(&observer, &amtool, down, 1, LATER).remove(0);
        assert_eq!(alert["labels"]["superblock"], two.dev, "{alert:#}");
        take_away(&two);
        wait_for_alerts(&observer, &amtool, down, 0, LATER);
        wait_for_alerts(&observer, &amtool, up, 0, SOON);
    });
}

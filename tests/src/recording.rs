//! What is recorded of a session, and what comes of it when it is decided again.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    Observer, Sandbox,
    observer::{Options, binary},
    scene::SOON,
};

/// A recording decided again.
#[derive(Debug)]
pub struct Replayed {
    /// The exit code.
    pub code: i32,
    /// Objects of standard output.
    pub objects: Vec<Value>,
    /// Standard error.
    pub complaints: String,
}

/// Starts an observer that records into a file of the sandbox.
pub fn recorded(sandbox: &Sandbox, config: &str) -> (Observer, PathBuf) {
    let file = sandbox.directory("recording").join("session.mor");
    let options = Options {
        config: config.to_owned(),
        arguments: vec![format!("--record={}", file.display())],
        ..Options::default()
    };
    (Observer::start_with(sandbox, &options), file)
}

/// Ends the observer, and waits for it.
///
/// # Panics
/// When it does not end well.
pub fn end(observer: &Observer) {
    observer.process.signal(Signal::SIGTERM);
    let ended = observer.process.exited_within(SOON);
    let is_well = ended.is_some_and(|status| status.success());
    assert!(is_well, "{ended:?}\n{}", observer.log_text());
}

/// Decides a recording again.
///
/// # Panics
/// When the program cannot be run, or says what is no JSON.
pub fn replay(file: &Path) -> Replayed {
    let output = Command::new(binary())
        .args(["replay", "--json"])
        .arg(file)
        .output()
        .expect("run the replay");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let objects = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    Replayed {
        code: output.status.code().unwrap_or(-1),
        objects: objects.collect(),
        complaints: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Replayed {
    /// Objects of one kind.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let objects = self.objects.iter();
        objects.filter(move |object| object["type"] == kind)
    }

    /// Those of one mount: other tests break theirs meanwhile.
    pub fn alerts_of(&self, mount_point: &Path) -> Vec<String> {
        let mount_point = mount_point.display().to_string();
        let mut alerts = self.alerts();
        alerts.retain(|line| line.contains(&mount_point));
        alerts
    }

    /// The lines of the alerts, as the log has them.
    pub fn alerts(&self) -> Vec<String> {
        let line = |alert: &Value| alert["line"].as_str().unwrap_or_default().to_owned();
        self.of("alert").map(line).collect()
    }
}

/// Compares what was told and remembered live with what a replay makes of it, byte for byte. The observer
/// has ended.
///
/// # Panics
/// Where they differ.
pub fn expect_same(observer: &Observer, file: &Path) -> Replayed {
    let replayed = replay(file);
    assert_eq!(replayed.code, 0, "{}", replayed.complaints);
    let told = observer.transitions().into_iter();
    let told: Vec<_> = told.map(|told| told.text("message").to_owned()).collect();
    assert_eq!(replayed.alerts(), told);
    for incident in replayed.of("incident") {
        let incident = &incident["incident"];
        let id = incident["id"].as_str().expect("an id");
        let export = Command::new(binary())
            .args(["incidents", "export", id])
            .arg(format!("--storage.path={}", observer.storage.display()))
            .output()
            .expect("run the export");
        let export: Value = serde_json::from_slice(&export.stdout).expect("JSON");
        assert_eq!(
            *incident,
            export.get("incident").cloned().unwrap_or_default(),
            "{id}"
        );
    }
    replayed
}

/// Shows a recording on standard output, for `cargo xtask recordings`, where that asks for it.
///
/// # Panics
/// When it cannot be read.
#[expect(clippy::print_stdout, reason = "xtask reads it")]
pub fn hand_out(name: &str, file: &Path) {
    if std::env::var_os("MOUNT_OBSERVER_RECORDINGS").is_none() {
        return;
    }
    let bytes = fs::read(file).expect("the recording");
    for (number, part) in bytes.chunks(512).enumerate() {
        let mut digits = String::new();
        for byte in part {
            write!(digits, "{byte:02x}").expect("it fits");
        }
        println!("RECORDING {name} {number} {digits}");
    }
    println!("RECORDED {name} {}", bytes.len());
}

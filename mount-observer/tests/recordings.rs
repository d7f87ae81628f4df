//! Every fault as it happened on every kernel of the matrix, decided again. `cargo xtask recordings`
//! records them; a version that reads a recording otherwise, or decides otherwise on what it holds, shows
//! here.

#![cfg(test)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use mount_observer::{render::alert_line::alert_line, replay::Replay};

/// The guests of the matrix; another processor more makes no other recording.
const GUESTS: [&str; 9] = [
    "5.10",
    "6.1",
    "6.12",
    "6.12-confidentiality",
    "6.12-integrity",
    "6.16",
    "6.18",
    "7.2",
    "7.3",
];

/// Faults that each kernel was recorded under, and the alert that each must lead to.
const FAULTS: [(&str, &str); 9] = [
    ("backend_stopped", "hung"),
    ("connection_aborted", "dead"),
    ("failing_operations", "erroring"),
    ("hung_operation", "hung"),
    ("lost_reply", "stuck"),
    ("nfs_server_gone", "hung"),
    ("server_killed", "dead"),
    ("server_stopped", "hung"),
    ("slow_operations", "slow"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/recordings")
}

/// What replays to which alerts and which end.
fn told(name: &str, bytes: &[u8]) -> String {
    let mut replay = Replay::open(bytes).unwrap();
    let mut text = format!("{name}\n");
    while let Some(step) = replay.step() {
        for transition in &step.told {
            writeln!(text, "  {}", alert_line(transition)).unwrap();
        }
    }
    assert_eq!(replay.reader().flaw(), None, "{name}");
    for superblock in &replay.session().snapshot().superblocks {
        let state = superblock.state.name();
        writeln!(text, "  at the end {}: {state}", superblock.mountpoint).unwrap();
    }
    text
}

#[test]
fn each_recorded_fault_leads_to_its_alerts_again() {
    for guest in GUESTS {
        let directory = root().join(guest);
        let mut all = String::new();
        for (fault, kind) in FAULTS {
            let file = directory.join(format!("{fault}.mor"));
            let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{guest}/{fault}: {error}"));
            let text = told(fault, &bytes);
            // Beside it others were recorded under faults of their own, in namespaces of their own.
            let is_it =
                |line: &str| line.contains(&format!(" {kind} /")) && !line.contains(" in mnt:[");
            assert!(text.lines().any(is_it), "{guest}: {text}");
            all += &text;
        }
        insta::with_settings!({ snapshot_path => directory, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("alerts", all);
        });
    }
}

/// Cut off anywhere, a recording is decided up to there.
#[test]
fn a_recorded_fault_that_is_cut_off_is_decided_up_to_there() {
    let bytes = fs::read(root().join("6.1/server_stopped.mor")).unwrap();
    let whole = count(&bytes);
    let half = bytes.get(..bytes.len() / 2).unwrap();
    assert!((1..whole).contains(&count(half)), "of {whole}");
}

fn count(bytes: &[u8]) -> usize {
    let mut replay = Replay::open(bytes).unwrap();
    std::iter::from_fn(|| replay.step()).count()
}

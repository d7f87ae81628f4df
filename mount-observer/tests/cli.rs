//! The command line from outside, as far as it needs no privileges.
#![cfg(feature = "daemon")]
#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::process::{Command, Output};

fn mount_observer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mount-observer"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A configuration file of this test's own.
fn config(name: &str, content: &str) -> String {
    let path = std::env::temp_dir().join(format!("{name}-{}.toml", std::process::id()));
    std::fs::write(&path, content).expect("the file is written");
    path.into_os_string().into_string().expect("UTF-8")
}

#[test]
fn documents_are_printed() {
    for (document, begins) in [
        ("config", "# The configuration of mount-observer."),
        ("config-doc", "# Configuration\n"),
        ("metrics-doc", "# Metrics\n"),
        ("api-doc", "# API\n"),
        (
            "systemd-unit",
            "# mount-observer print systemd-unit\n[Unit]\n",
        ),
        ("systemd-recovery-dropin", "# mount-observer print systemd-"),
        ("alert-rules", "# mount-observer print alert-rules"),
    ] {
        let output = mount_observer(&["print", document]);
        assert_eq!(output.status.code(), Some(0), "{document}");
        assert!(text(&output.stdout).starts_with(begins), "{document}");
    }
}

#[test]
fn every_command_explains_itself_with_examples() {
    for command in ["run", "status", "top", "check", "print"] {
        let output = mount_observer(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = text(&output.stdout);
        assert!(help.contains("Usage: mount-observer"), "{help}");
        assert!(
            help.contains("Example") || help.contains("Exits with 3"),
            "{help}"
        );
    }
}

#[test]
fn a_full_screen_without_a_terminal_is_a_mistake_that_names_the_way_out() {
    let output = mount_observer(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.contains("mount-observer status"), "{said}");
}

#[test]
fn help_says_what_a_look_is_not_and_where_the_log_goes() {
    let status = text(&mount_observer(&["status", "--help"]).stdout);
    for said in [
        "Exits with 0 whatever it finds, unless --nagios",
        "does not ask a",
        "cannot tell a lost reply (stuck) from a hang",
    ] {
        assert!(status.contains(said), "{status}");
    }
    let run = text(&mount_observer(&["run", "--help"]).stdout);
    assert!(run.contains("The log goes to standard error"), "{run}");
}

#[test]
fn a_bad_command_line_is_told_from_a_failure() {
    for (arguments, code) in [
        (&["run", "--nonsense"][..], 2),
        (&[], 2),
        (&["run", "--web.listen-address", "nowhere"], 2),
        (&["run", "--config", "/proc/self/nonexistent.toml"], 2),
        (&["status", "--json", "--nagios"], 3),
        (&["--version"], 0),
    ] {
        let output = mount_observer(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn a_bad_configuration_names_the_line_and_the_nearest_key() {
    let path = config("bad", "[detect]\nhung_afer = \"5s\"\n");
    let output = mount_observer(&["run", "--config", &path]);
    let nagios = mount_observer(&["status", "--nagios", "--config", &path]);
    std::fs::remove_file(&path).expect("the file is removed");

    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        format!(
            "mount-observer: {path} is not a valid configuration:\n\
             line 2: unknown key `detect.hung_afer`; did you mean `hung_after`?\n"
        )
    );
    assert_eq!(nagios.status.code(), Some(3));
    let line = text(&nagios.stdout);
    assert!(
        line.starts_with("MOUNTS UNKNOWN - ") && line.lines().count() == 1,
        "{line}"
    );
}

#[test]
fn a_plugin_names_the_problems_of_a_configuration_in_the_order_of_its_lines() {
    let path = config(
        "several",
        "[detect]\nhung_after = \"0s\"\n[web]\nlisten_address = \"x\"\n",
    );
    let line = text(&mount_observer(&["status", "--nagios", "--config", &path]).stdout);
    std::fs::remove_file(&path).expect("the file is removed");
    let begins = format!("MOUNTS UNKNOWN - {path} is not a valid configuration: line 2: detect.");
    assert!(line.starts_with(&begins), "{line}");
    assert!(
        line.contains("; line 4: web.") && !line.contains("\\n"),
        "{line}"
    );
}

/// 1 would be a warning to whoever runs the plugin.
#[test]
fn a_plugin_that_cannot_write_still_answers_with_its_code() {
    for arguments in [
        &[
            "status",
            "--nagios",
            "--config",
            "/proc/self/nonexistent.toml",
        ][..],
        &["status", "--nagios", "--nonsense"],
        &["status", "--nagios", "--json"],
    ] {
        let full = std::fs::File::create("/dev/full").expect("/dev/full");
        let status = Command::new(env!("CARGO_BIN_EXE_mount-observer"))
            .args(arguments)
            .stdout(full)
            .status()
            .expect("the program starts");
        assert_eq!(status.code(), Some(3), "{arguments:?}");
        let line = text(&mount_observer(arguments).stdout);
        assert!(line.starts_with("MOUNTS UNKNOWN - "), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

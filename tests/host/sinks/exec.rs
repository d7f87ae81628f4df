//! Commands.

use std::{fs, os::unix::fs::PermissionsExt as _};

use mount_observer_tests::{
    Sandbox, host_test,
    needs::{program, say},
};
use serde_json::Value;

use super::{SOON, count, healthy, kill, observe, take_away, wait_for_text};

fn script(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path = sandbox.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("write a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it a program");
    path.display().to_string()
}

#[test]
fn a_command_gets_the_notice_and_nothing_else_and_one_that_hangs_delays_nobody() {
    host_test(&[], |sandbox| {
        // The script's own tools: a guest has a shell and little else.
        if ["env", "sort"].iter().any(|tool| program(tool).is_none()) {
            return say(
                "NOT HERE: a_command_gets_the_notice_and_nothing_else_and_one_that_hangs_delays_nobody: env and sort",
            );
        }
        let out = sandbox.path("out");
        let told = script(
            sandbox,
            "told",
            &format!(
                "{{ pwd; env | sort; cat; }} >> {}; echo >> {0}",
                out.display()
            ),
        );
        let hung = script(sandbox, "hung", "sleep 1000 & sleep 1000");
        let config = format!(
            "[[exec]]\ncommand = [\"{told}\"]\n\
             [[exec]]\nname = \"hung\"\ncommand = [\"{hung}\"]\ntimeout = \"1s\"\n\
             [[exec]]\nname = \"absent\"\ncommand = [\"/nonexistent\"]\n"
        );
        let observer = observe(sandbox, &config);
        let mount = healthy(sandbox, &observer, "mount");
        kill(&mount);
        let said = wait_for_text(&out, "\"caused_by\"", SOON);
        let (variables, json) = said.split_once('{').expect("JSON");
        let names: Vec<&str> = variables
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .filter(|name| !name.starts_with("MOUNT_OBSERVER_"))
            .collect();
        assert_eq!(names, ["LANG", "PATH", "PWD"], "{variables}");
        assert!(variables.starts_with("/\n"), "{variables}");
        assert!(
            variables.contains("MOUNT_OBSERVER_STATUS=firing\n"),
            "{variables}"
        );
        let json = format!("{{{}", json.lines().next().unwrap_or_default());
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["kind"], "dead");

        take_away(&mount);
        wait_for_text(&out, "MOUNT_OBSERVER_STATUS=resolved", SOON);
        for sink in ["hung", "absent"] {
            let failed = observer.look(SOON, || {
                (count(&observer, sink, "failed") > 0).then_some(())
            });
            assert!(failed.is_some(), "{sink}\n{}", observer.log_text());
        }
    });
}

//! The rules for Prometheus, as Prometheus itself understands them.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    packages,
    steps::{self, run as run_command},
};

const RULES: &str = "mount-observer/assets/alert-rules.yml";
const CASES: &str = "tests/data/prometheus/alert-rules.test.yml";

/// What the rules make of series, checked by promtool.
pub(crate) fn check() -> Result<()> {
    let root = steps::workspace_root()?;
    // The cases name the rules by a path beside them.
    let directory = root.join("target/rules");
    fs::create_dir_all(&directory).context("target/rules")?;
    let (rules, cases) = (
        directory.join("alert-rules.yml"),
        directory.join("cases.yml"),
    );
    fs::copy(root.join(RULES), &rules).context(RULES)?;
    fs::copy(root.join(CASES), &cases).context(CASES)?;
    let promtool = packages::promtool()?;
    run_command(Command::new(&promtool).args(["check", "rules"]).arg(&rules))?;
    run_command(Command::new(&promtool).args(["test", "rules"]).arg(&cases))
}

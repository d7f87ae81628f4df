//! `recover MOUNT --dry-run`: what would be done about a mount now, and why.

use std::{fmt::Write as _, io};

use serde::Serialize;

use super::{
    clock,
    look::look,
    run::{RunError, chain},
    store::{self, Reader, StoreError},
};
use crate::{
    config::{Config, Recover},
    recovery::{Explanation, MATTERS_WITHIN, Recoveries, RecoveryRun, Verdict, is_on_top},
    snapshot::Snapshot,
    time::{Wall, nanos},
};

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The look failed.
    #[error(transparent)]
    Look(#[from] RunError),
    /// The mount is not configured.
    #[error(
        "no [[recover]] has mount_point = {mount_point:?}; {}",
        if known.is_empty() { "there is none at all: `mount-observer print config` shows one".to_owned() }
        else { format!("there are {}", known.join(", ")) }
    )]
    NotConfigured {
        /// What was asked for.
        mount_point: String,
        /// Those that are.
        known: Vec<String>,
    },
}

/// What would happen.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The mount point of the configuration.
    pub mount_point: String,
    /// What is mounted there, and its state; `None` where nothing observed is.
    pub state: Option<&'static str>,
    /// One sentence about that state.
    pub reason: Option<String>,
    /// Every condition and the verdict; `None` where there is nothing to repair.
    pub explanation: Option<Explanation>,
    /// The steps, in order.
    pub steps: Vec<String>,
    /// What could not be taken into account.
    pub remarks: Vec<String>,
}

/// Takes one look and judges.
pub fn explain(config: &Config, mount_point: &str) -> Result<Report, RecoverError> {
    let configured = config.recover.iter();
    let mount = configured
        .clone()
        .find(|mount| mount.mount_point == mount_point);
    let mount = mount.ok_or_else(|| RecoverError::NotConfigured {
        mount_point: mount_point.to_owned(),
        known: configured.map(|mount| mount.mount_point.clone()).collect(),
    })?;
    let snapshot = look(config)?;
    let mut remarks = vec![
        "one look counts as one confirmation, and the trouble is as old as the look can tell: the daemon \
         knows more"
            .to_owned(),
    ];
    let mut recoveries = Recoveries::new(&config.recovery, &config.recover);
    recoveries.set_enabled(is_there(&config.recovery.enabled_by, &mut remarks));
    if let Some(history) = history(config, &mut remarks) {
        recoveries.remember(clock::now(), history);
    }
    Ok(report(&snapshot, mount, &mut recoveries, remarks))
}

fn report(
    snapshot: &Snapshot,
    mount: &Recover,
    recoveries: &mut Recoveries,
    remarks: Vec<String>,
) -> Report {
    let mut superblocks = snapshot.superblocks.iter();
    let found = superblocks.find(|superblock| is_on_top(superblock, &mount.mount_point));
    // Nothing is done: it only counts this look.
    recoveries.look(clock::now(), snapshot, &|_| None);
    let explain = |superblock| recoveries.explain(clock::now(), mount, superblock);
    Report {
        mount_point: mount.mount_point.clone(),
        state: found.map(|superblock| superblock.state.name()),
        reason: found.map(|superblock| superblock.reason.clone()),
        explanation: found.map(explain),
        steps: mount.steps.clone(),
        remarks,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command that somebody waits for and can interrupt, not the daemon"
)]
fn is_there(path: &str, remarks: &mut Vec<String>) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            remarks.push(format!("cannot look for {path}: {error}"));
            false
        }
    }
}

/// Recoveries so far; `None` where they cannot be known.
fn history(config: &Config, remarks: &mut Vec<String>) -> Option<Vec<RecoveryRun>> {
    let since = Wall(clock::now().wall.0.saturating_sub(nanos(MATTERS_WITHIN)));
    let read = || match store::directory(config)? {
        Some(directory) => Reader::open(&directory)?.runs_since(since),
        None => Ok(Vec::new()),
    };
    match read() {
        Ok(runs) => Some(runs),
        // No daemon has kept anything yet.
        Err(StoreError::Absent { .. }) => Some(Vec::new()),
        Err(error) => {
            let why = chain(&error);
            remarks.push(format!("recoveries so far are not known: {why}"));
            None
        }
    }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        self.write(&mut text).ok();
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let escaped = crate::render::escape::escaped;
        match (self.state, &self.reason) {
            (Some(state), Some(reason)) => {
                writeln!(out, "{} is {state}: {}", self.mount_point, escaped(reason))?;
            }
            _ => writeln!(
                out,
                "{}: nothing that is observed is mounted there",
                self.mount_point
            )?,
        }
        let Some(explanation) = &self.explanation else {
            return writeln!(out, "Nothing would be done.");
        };
        for check in &explanation.checks {
            let mark = if check.is_passed { "yes" } else { "NO " };
            writeln!(out, "  {mark}  {}", escaped(&check.text))?;
        }
        match &explanation.verdict {
            Verdict::Run => writeln!(out, "The daemon would do now:")?,
            Verdict::DryRun => writeln!(out, "The daemon would say, and not do:")?,
            Verdict::Wait(why) => writeln!(out, "Not yet ({}); then:", escaped(why))?,
            Verdict::Capped(why) => {
                return writeln!(out, "Nothing, and an alert: {}", escaped(why));
            }
            Verdict::Refuse(why) => return writeln!(out, "Nothing: {}", escaped(why)),
        }
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(out, "  {}. {}", index + 1, escaped(step))?;
        }
        self.remarks
            .iter()
            .try_for_each(|remark| writeln!(out, "Note: {}", escaped(remark)))
    }
}

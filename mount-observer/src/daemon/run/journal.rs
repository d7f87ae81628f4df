//! The journal as the loop sees it: what is to be kept goes in, what an earlier observer left and how
//! the writing goes comes out. Nothing here waits, but at the start and at the end.

use std::{fs, sync::Arc, time::Duration};

use super::super::{
    engine::{Engine, Wanted},
    mountinfo::OwnTable,
    store::Journal,
};
use crate::{config::Config, input::Input, time::Mono};

/// How long the first look at everything waits for what an earlier observer left. A disk that takes
/// longer does not keep us: it is taken when it comes.
const REMEMBERED_WITHIN: Duration = Duration::from_secs(3);

/// How long the end waits for what is not written yet.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3);

/// How often the kernel's settings are read: two files of a few bytes.
const SYSCTLS_EVERY: Duration = Duration::from_mins(1);

/// The kernel's own timeouts of FUSE requests, seconds, 0 for none (`fs/fuse/sysctl.c`, from v6.14).
const SYSCTLS: [&str; 2] = ["default_request_timeout", "max_request_timeout"];

/// The name under which the snapshot tells of it.
const PART: &str = "storage";

/// What the loop needs to keep incidents.
#[derive(Debug)]
pub(super) struct Keeper {
    journal: Journal,
    trouble: Option<String>,
    sysctls_at: Option<Mono>,
}

impl Keeper {
    /// Starts the thread that writes.
    pub(super) fn start(config: &Config, own: &Arc<OwnTable>) -> Self {
        Self {
            journal: Journal::start(config, Arc::clone(own)),
            trouble: None,
            sysctls_at: None,
        }
    }

    /// The journal, for whoever shows it.
    pub(super) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Before the first decision: what an earlier observer left.
    pub(super) fn begin(&mut self, engine: &mut Engine, now: Mono) {
        engine.feed(self.remembered(REMEMBERED_WITHIN));
        engine.feed(self.look(now));
    }

    /// Has incidents and recoveries kept.
    pub(super) fn keep(&self, wanted: &mut Wanted) {
        for incident in wanted.kept.drain(..) {
            self.journal.keep(incident);
        }
        for run in &wanted.runs {
            self.journal.keep_run(run.clone());
        }
    }

    fn remembered(&self, patience: Duration) -> Vec<Input> {
        let Some(remembered) = self.journal.remembered(patience) else {
            return Vec::new();
        };
        vec![
            Input::Remembered(remembered.incidents),
            Input::RecoveryRuns(remembered.runs),
        ]
    }

    /// What the observer should know by now.
    pub(super) fn look(&mut self, now: Mono) -> Vec<Input> {
        let mut inputs = self.remembered(Duration::ZERO);
        let trouble = self.journal.condition().trouble;
        if trouble != self.trouble {
            inputs.push(Input::Trouble {
                part: PART,
                what: trouble.clone(),
            });
            self.trouble = trouble;
        }
        if self
            .sysctls_at
            .is_none_or(|at| now.since(at) >= SYSCTLS_EVERY)
        {
            self.sysctls_at = Some(now);
            inputs.push(Input::Sysctls(sysctls()));
        }
        inputs
    }

    /// Waits a moment for what is not written yet.
    pub(super) fn end(&self) {
        if !self.journal.end(WRITTEN_WITHIN) {
            let waiting = self.journal.condition().waiting;
            tracing::error!(waiting, "incidents were not written before the end");
        }
    }
}

/// Those that this kernel has.
fn sysctls() -> Vec<(String, String)> {
    let read = |name: &str| {
        let value = fs::read_to_string(format!("/proc/sys/fs/fuse/{name}")).ok()?;
        Some((format!("fs.fuse.{name}"), value.trim().to_owned()))
    };
    SYSCTLS.iter().filter_map(|name| read(name)).collect()
}

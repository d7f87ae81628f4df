//! A command for each notice, run by the hand: the observer itself starts nothing.

use std::time::Duration;

use super::{Deliver, Failure};
use crate::{
    config,
    daemon::hand::{Answer, Hand, Run, Task},
    notify::Notice,
    render::{environment::variables, escape::escaped},
};

/// A command that is told.
#[derive(Debug)]
pub(super) struct Exec {
    hand: Hand,
    command: Vec<String>,
    timeout: Duration,
}

impl Exec {
    pub(super) fn new(config: &config::Exec, hand: Hand) -> Self {
        Self {
            hand,
            command: config.command.clone(),
            timeout: config.timeout,
        }
    }
}

impl Deliver for Exec {
    fn deliver(&mut self, notice: &Notice) -> Result<(), Failure> {
        // A notice is text and numbers: there is JSON for it.
        let mut input = serde_json::to_string(notice).unwrap_or_default();
        input.push('\n');
        let task = Task::Run(Run {
            command: self.command.clone(),
            environment: variables(notice),
            input,
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
        });
        let answer = self.hand.ask(task);
        let answer = answer.map_err(|error| Failure::Retry(error.to_string()))?;
        let said = |said: &str| escaped(said.trim());
        Err(Failure::Retry(match answer {
            Answer::Exited { code: 0, .. } => return Ok(()),
            Answer::Exited { code, said: words } => {
                format!("ended with code {code}: {}", said(&words))
            }
            Answer::Killed {
                signal,
                said: words,
            } => {
                format!("ended by signal {signal}: {}", said(&words))
            }
            Answer::TimedOut { said: words } => {
                format!("killed after {:?}: {}", self.timeout, said(&words))
            }
            Answer::Failed { why } => format!("cannot be run: {why}"),
            Answer::Busy => "too many commands run already".to_owned(),
            // No answer to a command.
            Answer::Done | Answer::No => "it was not run".to_owned(),
        }))
    }
}

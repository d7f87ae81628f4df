//! The run under way: what is next, decided anew on each look.

use std::time::Duration;

use super::{Outcome, RecoveryRun, Step, Target, is_on_top, is_served};
use crate::{
    alert::State,
    snapshot::Snapshot,
    superblock::SuperblockId,
    time::{Mono, Now},
};

/// The run under way.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) run: RecoveryRun,
    pub(super) superblock: SuperblockId,
    pub(super) target: Target,
    pub(super) steps: Vec<Step>,
    /// The one that is next, or being carried out.
    pub(super) at: usize,
    /// Whether the shell was asked for it.
    pub(super) is_asked: bool,
    /// Since when it is.
    pub(super) begun: Mono,
}

/// What a look leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Nothing yet.
    Wait,
    /// The step is to be carried out.
    Ask(Step),
    /// The step has come to this.
    Step(Outcome, &'static str),
    /// Every step is done, or none is needed any more.
    Over,
}

impl Running {
    /// Decides. `is_allowed` is asked before each step, not only before the first: removing the
    /// enabling file stops a run at once.
    pub(super) fn next(
        &self,
        now: Mono,
        snapshot: &Snapshot,
        is_allowed: bool,
        timeout: Duration,
    ) -> Move {
        let mount_point = &self.run.mount_point;
        let waited = now.since(self.begun);
        let Some(step) = self.steps.get(self.at) else {
            return Move::Over;
        };
        if *step == Step::Verify {
            return if is_served(snapshot, mount_point) {
                Move::Step(Outcome::Ok, "mounted again, and its connection lives")
            } else if waited >= timeout {
                let why = "it is not mounted again with a living connection";
                Move::Step(Outcome::Timeout, why)
            } else {
                Move::Wait
            };
        }
        if self.is_asked {
            // The shell has the same limit for a step and answers; this is for when it does not.
            return if waited >= timeout * 2 {
                Move::Step(Outcome::Timeout, "no answer")
            } else {
                Move::Wait
            };
        }
        if !is_allowed {
            return Move::Step(Outcome::Failed, "it is not allowed any more");
        }
        if is_served(snapshot, mount_point) {
            return Move::Over;
        }
        let harms = matches!(step, Step::AbortConnection | Step::LazyUnmount);
        if harms && !self.is_still_there(snapshot) {
            let why = "what was to be repaired is not there any more, or not in trouble";
            return Move::Step(Outcome::Failed, why);
        }
        Move::Ask(step.clone())
    }

    /// Whether the very superblock is on top there and in trouble. Numbers do not tell: the kernel
    /// gives device number and mount id to the next mount at once.
    fn is_still_there(&self, snapshot: &Snapshot) -> bool {
        let mut superblocks = snapshot.superblocks.iter();
        let found = superblocks.find(|superblock| superblock.id == self.superblock);
        found.is_some_and(|superblock| {
            is_on_top(superblock, &self.run.mount_point)
                && matches!(superblock.state, State::Dead | State::Hung)
        })
    }

    pub(super) fn tell(&mut self, now: Now, outcome: Outcome, detail: String) {
        let step = self.steps.get(self.at).map(ToString::to_string);
        let step = step.unwrap_or_default();
        self.run.tell(now.wall, &step, outcome, detail);
    }
}

//! What was lost lately that can hide a stall, a failure or an exit.

use std::{collections::BTreeMap, time::Duration};

use mount_observer_common::Counter;

use crate::time::Mono;

/// How long a loss makes what we see unsure, where no look makes up for it.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// How long the looks that make up for missed runs may take to come. They are asked for at once; on a
/// host where each costs much an urgent one is put off by up to 15 s.
const MADE_UP_WITHIN: Duration = Duration::from_secs(20);

/// Counter of the shell's: runs left out of the programs that see FUSE requests, the ends of
/// connections and of processes.
///
/// Since 7.0 tracepoints leave preemption on, as `fentry` always did: a program that is preempted in the
/// middle misses what other tasks do on that processor until it goes on. On a busy host that happens
/// every few seconds, so it must not make us blind: what such a run hides is a request in flight, the end
/// of one or the death of a server, and a look at all holders of `/dev/fuse` and at all tasks shows them.
pub const RUNS_LOST: &str = "lost_probe_runs";

/// Kernel-side counters whose growth can hide a stall, a failure or an exit. The others lose detail
/// only: a latency, a path, a record that the totals counted.
const HIDING: [Counter; 3] = [
    Counter::InFlightFull,
    Counter::TotalsFull,
    Counter::RingFull,
];

/// Prefix of counters of the shell's own losses.
pub(super) const SHELL_LOSS: &str = "lost_";

/// The losses.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// When each counter that can hide something last grew, and by how much.
    grown: BTreeMap<&'static str, (Mono, u64)>,
    runs: Option<Runs>,
}

/// Missed runs that no look has made up for.
#[derive(Clone, Copy, Debug)]
struct Runs {
    count: u64,
    /// When the first of them was noticed, and the last.
    first: Mono,
    last: Mono,
    /// When the last complete look of each kind began that began since the first.
    holders: Option<Mono>,
    tasks: Option<Mono>,
}

impl Runs {
    /// As any other loss: the scans that are made anyway show by then what is there.
    fn is_past(&self, now: Mono) -> bool {
        now.since(self.last) >= REMEMBERED_FOR
    }
}

impl Losses {
    /// A counter grew.
    pub(super) fn note(&mut self, now: Mono, counter: &'static str, count: u64) {
        if counter == RUNS_LOST {
            self.runs.take_if(|runs| runs.is_past(now));
            let runs = self.runs.get_or_insert(Runs {
                count: 0,
                first: now,
                last: now,
                holders: None,
                tasks: None,
            });
            runs.count += count;
            runs.last = now;
        } else if is_hiding(counter) {
            self.grown.insert(counter, (now, count));
        }
    }

    /// A look at all holders of `/dev/fuse` that began then came to its end.
    pub(super) fn looked_at_holders(&mut self, begun: Mono) {
        if let Some(runs) = &mut self.runs {
            runs.holders = Some(begun);
        }
        self.make_up();
    }

    /// A look at all tasks that began then came to its end. It makes up for all where no holders can
    /// be looked at.
    pub(super) fn looked_at_tasks(&mut self, begun: Mono, has_holders: bool) {
        if let Some(runs) = &mut self.runs {
            runs.tasks = Some(begun);
            if !has_holders {
                runs.holders = Some(begun);
            }
        }
        self.make_up();
    }

    fn make_up(&mut self) {
        let Some(runs) = &mut self.runs else { return };
        let (Some(holders), Some(tasks)) = (runs.holders, runs.tasks) else {
            return;
        };
        let begun = holders.min(tasks);
        if begun >= runs.last {
            self.runs = None;
        } else if begun > runs.first {
            // The others were noticed since.
            runs.first = begun;
        }
    }

    /// Whether looks are needed.
    pub(super) fn wants_looks(&self, now: Mono) -> bool {
        self.runs.is_some_and(|runs| !runs.is_past(now))
    }

    /// In words, those that make what we see unsure.
    pub(super) fn words(&self, now: Mono) -> Vec<String> {
        let grown = self.grown.iter();
        let lately = grown.filter(|(_, (at, _))| now.since(*at) < REMEMBERED_FOR);
        let runs = self.runs.iter();
        let waiting =
            runs.filter(|runs| now.since(runs.first) >= MADE_UP_WITHIN && !runs.is_past(now));
        lately
            .map(|(name, (_, count))| format!("{name} {count}"))
            .chain(waiting.map(|runs| format!("{RUNS_LOST} {}", runs.count)))
            .collect()
    }
}

fn is_hiding(name: &str) -> bool {
    HIDING.iter().any(|counter| counter.name() == name) || name.starts_with(SHELL_LOSS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    #[test]
    fn runs_that_were_missed_blind_only_where_no_look_makes_up_for_them() {
        let mut losses = Losses::default();
        losses.note(at(10), RUNS_LOST, 3);
        assert!(losses.wants_looks(at(10)));
        assert_eq!(losses.words(at(29)), [""; 0]);
        assert_eq!(losses.words(at(30)), ["lost_probe_runs 3"]);
        losses.looked_at_holders(at(11));
        assert!(losses.wants_looks(at(12)), "the tasks were not looked at");
        losses.looked_at_tasks(at(12), true);
        assert!(!losses.wants_looks(at(13)));
        assert_eq!(losses.words(at(30)), [""; 0]);
    }

    #[test]
    fn a_look_that_began_before_a_loss_does_not_make_up_for_it() {
        let mut losses = Losses::default();
        losses.note(at(10), RUNS_LOST, 1);
        losses.note(at(13), RUNS_LOST, 1);
        losses.looked_at_holders(at(9));
        losses.looked_at_tasks(at(14), true);
        assert_eq!(losses.words(at(30)), ["lost_probe_runs 2"]);
        // It makes up for the first, and the second is as old as it at the most.
        losses.looked_at_holders(at(12));
        assert!(losses.wants_looks(at(31)));
        assert_eq!(losses.words(at(31)), [""; 0]);
        assert_eq!(losses.words(at(32)), ["lost_probe_runs 2"]);
        assert_eq!(losses.words(at(72)), ["lost_probe_runs 2"]);
        assert_eq!(losses.words(at(73)), [""; 0]);
        assert!(!losses.wants_looks(at(73)));
    }

    #[test]
    fn where_there_are_no_holders_to_look_at_the_tasks_are_enough() {
        let mut losses = Losses::default();
        losses.note(at(10), RUNS_LOST, 1);
        losses.looked_at_tasks(at(11), false);
        assert!(!losses.wants_looks(at(11)));
    }

    #[test]
    fn what_no_look_makes_up_for_is_remembered() {
        let mut losses = Losses::default();
        losses.note(at(10), Counter::RingFull.name(), 1);
        losses.note(at(10), Counter::UserReadsFailed.name(), 1);
        losses.looked_at_holders(at(11));
        losses.looked_at_tasks(at(11), true);
        assert_eq!(losses.words(at(69)), ["ring_full 1"]);
        assert_eq!(losses.words(at(70)), [""; 0]);
    }
}

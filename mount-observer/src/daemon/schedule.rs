//! When the costly looks happen: periodically, at once on request, and never so often that they
//! cost more than their share of the time.

use std::time::Duration;

use crate::time::Mono;

/// When one kind of look is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    every: Duration,
    /// Pause after a look in multiples of what it cost: 100 makes 1 % of the time.
    share: u32,
    /// Shortest pause between urgent looks; costly ones rest for their share, up to a bound.
    urgent_every: Duration,
    last: Option<Mono>,
    cost: Duration,
    wanted_since: Option<Mono>,
    urgent: bool,
}

/// A request waits this long for others to join it: mounts come in groups.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// An urgent look waits no longer than this, whatever the last one cost.
const URGENT_PAUSE_MAX: Duration = Duration::from_secs(15);

impl Schedule {
    /// Due at once, then every `every`, at a cost of at most one `share`-th of the time; on urgent
    /// request at most every `urgent_every`.
    pub const fn new(every: Duration, share: u32, urgent_every: Duration) -> Self {
        Self {
            every,
            share,
            urgent_every,
            last: None,
            cost: Duration::ZERO,
            wanted_since: None,
            urgent: false,
        }
    }

    /// Asks for a look soon, within the share.
    pub fn want(&mut self, now: Mono) {
        self.wanted_since.get_or_insert(now);
    }

    /// Asks for a look now. A wait that lasts asks again and again: a host with many files must not
    /// be searched every second for as long.
    pub fn want_urgently(&mut self) {
        self.urgent = true;
    }

    /// Whether to look now.
    pub fn is_due(&self, now: Mono) -> bool {
        let Some(last) = self.last else {
            return true;
        };
        let rested = now.since(last);
        let share = self.cost.saturating_mul(self.share);
        let urgent_pause = share.min(URGENT_PAUSE_MAX).max(self.urgent_every);
        if self.urgent && rested >= urgent_pause {
            return true;
        }
        if rested < share {
            return false;
        }
        let is_wanted = self
            .wanted_since
            .is_some_and(|since| now.since(since) >= DEBOUNCE);
        is_wanted || rested >= self.every
    }

    /// A look begins: it answers every request made so far.
    pub fn begin(&mut self, now: Mono) {
        self.last = Some(now);
        self.wanted_since = None;
        self.urgent = false;
    }

    /// A look ended, having taken `cost`. Rest is counted from the end.
    pub fn end(&mut self, now: Mono, cost: Duration) {
        self.last = Some(now);
        self.cost = cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn schedule() -> Schedule {
        let mut schedule = Schedule::new(Duration::from_mins(1), 100, Duration::from_secs(1));
        assert!(schedule.is_due(at(0)));
        schedule.begin(at(0));
        schedule.end(at(20), Duration::from_millis(20));
        schedule
    }

    #[test]
    fn a_look_is_due_at_once_and_then_periodically() {
        let schedule = schedule();
        assert!(!schedule.is_due(at(59_000)));
        assert!(schedule.is_due(at(60_021)));
    }

    #[test]
    fn a_request_is_debounced_and_stays_within_its_share() {
        let mut schedule = schedule();
        schedule.want(at(100));
        assert!(!schedule.is_due(at(1_000)), "20 ms cost 2 s of rest");
        assert!(schedule.is_due(at(2_021)));

        schedule.begin(at(3_000));
        schedule.end(at(3_000), Duration::ZERO);
        schedule.want(at(3_100));
        schedule.want(at(3_140));
        assert!(!schedule.is_due(at(3_149)));
        assert!(schedule.is_due(at(3_150)));
    }

    #[test]
    fn an_urgent_request_waits_for_its_share_but_not_for_long() {
        let mut schedule = schedule();
        schedule.want_urgently();
        assert!(!schedule.is_due(at(2_000)), "20 ms cost 2 s of rest");
        assert!(schedule.is_due(at(2_020)));
        schedule.begin(at(2_020));
        schedule.end(at(3_020), Duration::from_secs(1));
        assert!(!schedule.is_due(at(30_000)), "not wanted");
        schedule.want_urgently();
        assert!(!schedule.is_due(at(18_019)));
        assert!(schedule.is_due(at(18_020)));
        schedule.begin(at(18_020));
        schedule.end(at(18_020), Duration::from_millis(1));
        schedule.want_urgently();
        assert!(!schedule.is_due(at(19_019)), "a second at least");
        assert!(schedule.is_due(at(19_020)));
    }
}

//! When each of the costly looks is due.

use std::time::Duration;

use crate::daemon::schedule::Schedule;

/// What an iterator can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Holders,
    TasksLight,
    TasksFull,
    Files,
}

/// When each look was last made, and when it is due again.
#[derive(Debug)]
pub(super) struct Schedules {
    pub(super) holders: Schedule,
    pub(super) tasks_light: Schedule,
    pub(super) tasks_full: Schedule,
    pub(super) files: Schedule,
    pub(super) namespaces: Schedule,
    pub(super) waiting: Schedule,
}

impl Schedules {
    /// At most 1 % of the time for each iterator, and 0.2 % for procfs and for fusectl. The light
    /// look is often enough for a stopped server to be seen within a second. Files are looked at only
    /// when asked for, and soon: a writer that met a failure closes its file.
    pub(super) const fn new() -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            holders: Schedule::new(Duration::from_mins(1), 100, SECOND),
            tasks_light: Schedule::new(Duration::from_millis(700), 100, SECOND),
            tasks_full: Schedule::new(Duration::from_mins(1), 100, SECOND),
            files: Schedule::new(Duration::MAX, 100, Duration::from_millis(250)),
            namespaces: Schedule::new(Duration::from_secs(2), 500, Duration::from_secs(2)),
            waiting: Schedule::new(Duration::from_secs(5), 500, SECOND),
        }
    }

    pub(super) fn of(&mut self, look: Look) -> &mut Schedule {
        match look {
            Look::Holders => &mut self.holders,
            Look::TasksLight => &mut self.tasks_light,
            Look::TasksFull => &mut self.tasks_full,
            Look::Files => &mut self.files,
        }
    }
}

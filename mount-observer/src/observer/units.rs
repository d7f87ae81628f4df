//! Which units those belong to who serve, and who suffer.

use std::collections::BTreeSet;

use crate::{expected::ExpectedMount, input::Effect};

use super::Observer;

impl Observer {
    pub(super) fn on_units(&mut self, answers: &[(u32, Option<Vec<u8>>)]) {
        self.health.took("units");
        self.units.learn(self.now.mono, answers);
        self.ask_for_units();
    }

    /// Asks about servers that are new: while they live.
    pub(super) fn find_units_of(&mut self, servers: &BTreeSet<u32>) {
        for pid in servers.difference(&self.asked.servers) {
            self.units.want(self.now.mono, *pid);
        }
        self.ask_for_units();
    }

    /// Asks about those who suffer now.
    pub(super) fn find_units(&mut self) {
        let firing = self.superblocks.values().filter_map(|s| s.alerts.firing());
        let missing = self.expected.iter().filter_map(ExpectedMount::told);
        let conditions = firing.chain(missing);
        for victim in conditions.flat_map(|condition| &condition.victims) {
            self.units.want(self.now.mono, victim.pid);
        }
        self.ask_for_units();
    }

    /// Asks about one who has just met a failure, and may be gone in a moment.
    pub(super) fn find_unit(&mut self, pid: u32) {
        self.units.want(self.now.mono, pid);
        self.ask_for_units();
    }

    fn ask_for_units(&mut self) {
        let pids = self.units.take_wanted();
        if !pids.is_empty() {
            self.ask(Effect::FindUnits(pids));
        }
    }
}

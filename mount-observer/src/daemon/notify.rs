//! What the service manager is told (`sd_notify(3)`); without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::{
    alert::State,
    snapshot::Snapshot,
    time::{Mono, Now},
};

/// Keeps the watchdog fed from the loop's own progress: a loop that hangs is restarted.
#[derive(Debug)]
pub struct ServiceManager {
    watchdog: Option<Duration>,
    fed: Mono,
    status: String,
}

impl ServiceManager {
    /// Learns whether there is a watchdog.
    pub fn connect() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            fed: Mono(0),
            status: String::new(),
        }
    }

    /// Everything is attached and listening.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The end has begun.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The loop made progress: feeds the watchdog at half its period, and tells a changed status.
    pub fn progress(&mut self, now: Now, snapshot: Option<&Snapshot>) {
        if let Some(period) = self.watchdog
            && now.mono.since(self.fed) >= period / 2
        {
            self.fed = now.mono;
            tell(&[NotifyState::Watchdog]);
        }
        let status = snapshot.map(status).unwrap_or_default();
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// `42 mounts: 1 dead, 2 hung`.
fn status(snapshot: &Snapshot) -> String {
    let mut counts = Vec::new();
    for state in State::ALL.into_iter().rev() {
        let count = snapshot
            .superblocks
            .iter()
            .filter(|superblock| superblock.state == state)
            .count();
        if count > 0 && state != State::Ok {
            counts.push(format!("{count} {}", state.name()));
        }
    }
    let mounts = snapshot.superblocks.len();
    if counts.is_empty() {
        format!("{mounts} mounts, none in trouble")
    } else {
        format!("{mounts} mounts: {}", counts.join(", "))
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot reach the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    #[test]
    fn the_status_counts_what_is_not_ok() {
        assert_eq!(
            status(&fixture::snapshot()),
            "5 mounts: 1 dead, 1 hung, 1 unknown"
        );
        assert_eq!(
            status(&fixture::healthy_snapshot()),
            "2 mounts, none in trouble"
        );
    }
}

//! What became of what a sink was told: for the metrics, and for a log that says each change once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::Failure;
use crate::render::metrics::{SelfReport, SinkReport};

/// Counts of one sink. Any thread may add.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Told, and the receiver said so.
    delivered: AtomicU64,
    /// Attempts that failed and are repeated.
    failed: AtomicU64,
    /// The receiver will not take it, however often it is told.
    refused: AtomicU64,
    /// Given up after `give_up_after`.
    expired: AtomicU64,
    /// Did not fit in the queue.
    dropped: AtomicU64,
    /// Whether the last attempt failed.
    is_down: AtomicBool,
}

impl Counters {
    pub(super) fn report(&self, sink: &str) -> SinkReport {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SinkReport {
            sink: sink.to_owned(),
            outcomes: vec![
                ("delivered", read(&self.delivered)),
                ("failed", read(&self.failed)),
                ("refused", read(&self.refused)),
                ("expired", read(&self.expired)),
            ],
            dropped: read(&self.dropped),
        }
    }

    /// Notes the end of an attempt. The log hears when a receiver goes away and when it is back.
    pub(super) fn attempted(&self, sink: &str, result: &Result<(), Failure>) {
        let is_down = result.is_err();
        let was_down = self.is_down.swap(is_down, Ordering::Relaxed);
        match result {
            Ok(()) => {
                add(&self.delivered);
                if was_down {
                    tracing::info!(sink, "a sink is reached again");
                }
            }
            Err(Failure::Retry(error)) => {
                add(&self.failed);
                if was_down {
                    tracing::debug!(sink, error, "a sink still cannot be reached");
                } else {
                    tracing::warn!(sink, error, "a sink cannot be reached; it is tried again");
                }
            }
            Err(Failure::Refused(error)) => {
                add(&self.refused);
                if was_down {
                    tracing::debug!(sink, error, "a sink still refuses what it is told");
                } else {
                    tracing::error!(sink, error, "a sink refuses what it is told");
                }
            }
        }
    }

    /// So many at once.
    pub(super) fn expired(&self, sink: &str, count: u64) {
        if count == 0 {
            return;
        }
        self.expired.fetch_add(count, Ordering::Relaxed);
        tracing::error!(
            sink,
            count,
            "notices were given up: the sink could not be reached for too long"
        );
    }

    pub(super) fn dropped(&self, sink: &str) {
        add(&self.dropped);
        tracing::error!(sink, "a notice was dropped: too many wait for the sink");
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// The counters of every sink, and what is kept from all of them: for whoever shows them.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) sinks: Vec<(String, Arc<Counters>)>,
    pub(super) silenced: AtomicU64,
    pub(super) explained: AtomicU64,
    pub(super) silences: AtomicU64,
}

impl Tally {
    pub(super) fn of(&self, sink: &str) -> Arc<Counters> {
        let found = self.sinks.iter().find(|(name, _)| name == sink);
        found
            .map(|(_, counters)| Arc::clone(counters))
            .unwrap_or_default()
    }

    /// Adds them to what is shown.
    pub fn add_to(&self, report: &mut SelfReport) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let sinks = self.sinks.iter();
        report.sinks = sinks
            .map(|(sink, counters)| counters.report(sink))
            .collect();
        report.kept_back = vec![
            ("silence", read(&self.silenced)),
            ("cause", read(&self.explained)),
        ];
        report.silences = read(&self.silences);
    }
}

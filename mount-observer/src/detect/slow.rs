//! Slow: the 99th percentile of the latency is above its threshold, and nothing is overdue.

use std::time::Duration;

use crate::{
    alert::{AlertKind, Severity},
    alerts::{Condition, Stage},
    text,
};

use super::{View, victims};

/// A bound is rounded up, to a tenth of a second as it is shown.
const TENTH: Duration = Duration::from_millis(99);

/// Below this many slow operations, few samples would turn an outlier into a percentile.
const OUTLIERS_MAX: u64 = 3;

pub(super) fn judge(view: &View<'_>) -> Option<Condition> {
    let config = view.config;
    let ended = view
        .superblock
        .counters
        .latencies(view.now, config.slow_window);
    let is_late = |pending: &&super::Pending<'_>| {
        pending.is_confirmed
            && !pending.request.operation.is_blocking_by_design()
            && pending.request.age(view.now) >= config.slow_p99
    };
    let oldest = view.requests.iter().find(is_late).map(|p| p.request.start);
    let late = view.requests.iter().filter(is_late).count();
    let late = u64::try_from(late).unwrap_or(u64::MAX);
    let samples = ended.samples().saturating_add(late);
    let slow = ended.slow.saturating_add(late);
    // More than one in a hundred above the threshold is what "p99 above the threshold" says.
    let is_enough = samples >= config.slow_min_samples;
    let is_pattern = slow >= OUTLIERS_MAX.min(config.slow_min_samples).max(1);
    if !is_enough || !is_pattern || slow <= samples / 100 {
        return None;
    }
    let starts = ended.since.into_iter().chain(oldest);
    let since = starts.min().unwrap_or(view.now);
    let (victims, victims_total) = victims::of(view, since);
    let bound = match ended.p99_below() {
        Some(bound) => format!("p99 below {}", text::age(bound + TENTH)),
        None => "p99 above two minutes".to_owned(),
    };
    Some(Condition {
        kind: AlertKind::Slow,
        stage: Stage::Harm,
        severity: Severity::Warning,
        since,
        reason: format!(
            "{slow} of {} in {} took longer than {} ({bound})",
            text::count(samples, "operation"),
            text::age(config.slow_window),
            text::age(config.slow_p99),
        ),
        evidence: Vec::new(),
        victims,
        victims_total,
    })
}

//! Slow: the 99th percentile of the latency is above its threshold, and nothing is overdue.

use crate::{
    alert::{Severity, State},
    alerts::Condition,
    text,
};

use super::{View, victims};

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
    let late = view.requests.iter().filter(is_late).count();
    let late = u64::try_from(late).unwrap_or(u64::MAX);
    let samples = ended.samples().saturating_add(late);
    let slow = ended.slow.saturating_add(late);
    // More than one in a hundred above the threshold is what "p99 above the threshold" says.
    if samples == 0 || samples < config.slow_min_samples || slow <= samples / 100 {
        return None;
    }
    let (victims, victims_total) = victims::of(view);
    let bound = match ended.p99_below() {
        Some(bound) => format!("p99 below {}", text::age(bound)),
        None => "p99 above two minutes".to_owned(),
    };
    Some(Condition {
        kind: State::Slow,
        severity: Severity::Warning,
        since: view.now.before(config.slow_window),
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

//! Erroring: operations fail in a way that says that a connection or a server is in trouble.

use crate::{
    alert::{AlertKind, Severity},
    alerts::{Condition, Stage},
    text,
    watched::Service,
};

use super::{View, kinds_text, victims};

pub(super) fn judge(view: &View<'_>) -> Option<Condition> {
    let window = view.config.storm_window;
    let failures = view.superblock.counters.failures(view.now, window);
    let count = failures.count();
    if count == 0 || count < view.config.storm_errors {
        return None;
    }
    let kinds = kinds_text(&failures.kinds);
    let since = failures.since.unwrap_or(view.now);
    let victims: Vec<_> = victims::failures(view, since).cloned().collect();
    let victims_total = u64::try_from(victims.len()).unwrap_or(u64::MAX);
    let connection = match view.superblock.connection.is_connected {
        Some(true) => "the connection is alive: the server itself answers so",
        Some(false) => "the connection is gone",
        None => "whether the server is alive is not known",
    };
    Some(Condition {
        kind: AlertKind::Erroring,
        stage: Stage::Harm,
        severity: Severity::Critical,
        since,
        reason: [
            Some(format!(
                "{} in {} ({kinds})",
                text::count(count, "failure"),
                text::age(window)
            )),
            view.causes_text(view.now.before(window).min(since)),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; "),
        evidence: if view.superblock.service == Service::Fuse {
            vec![connection.to_owned()]
        } else {
            Vec::new()
        },
        victims,
        victims_total,
    })
}

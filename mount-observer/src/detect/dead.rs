//! Dead: the connection is gone. Nothing brings it back; only unmounting ends it.

use mount_observer_common::AbortCause;

use crate::{
    alert::{AlertKind, Severity},
    alerts::{Condition, Stage},
    connection::Cause,
    decode::Abort,
    text,
    watched::Service,
};

use super::{View, kinds_text, victims};

pub(super) fn judge(view: &View<'_>) -> Option<Condition> {
    let superblock = view.superblock;
    if superblock.service != Service::Fuse {
        return None;
    }
    let connection = &superblock.connection;
    let death = connection.death(view.now, view.is_single_look)?;
    let (victims, victims_total) = victims::of(view, death.since);
    let servers = connection.servers_text();
    let how = match death.how {
        Cause::Disconnected => "the kernel says the connection is aborted",
        Cause::NobodyHolds => "no process holds the connection's /dev/fuse",
        Cause::Aborted => "the kernel was seen to abort the connection",
    };
    let abort = connection.abort();
    let mut evidence = vec![how.to_owned()];
    evidence.extend(abort.map(Abort::text));
    evidence.extend(refusals_text(view));
    evidence.extend(victims::failures_text(view, death.since));
    // That its server is gone says by itself how it ended.
    let told = abort.filter(|abort| abort.cause != AbortCause::ServerExit);
    let told = told.map(|abort| format!(": {}", abort.text()));
    Some(Condition {
        kind: AlertKind::Dead,
        stage: Stage::Harm,
        severity: Severity::Critical,
        since: death.since,
        reason: format!(
            "the FUSE connection is gone{}; {servers}",
            told.unwrap_or_default()
        ),
        evidence,
        victims,
        victims_total,
    })
}

/// `12 failures in 10 s (ENOTCONN on LOOKUP x 12)`: those who go on using it.
fn refusals_text(view: &View<'_>) -> Option<String> {
    let window = view.config.storm_window;
    let failures = view.superblock.counters.failures(view.now, window);
    let count = failures.count();
    (count > 0).then(|| {
        format!(
            "{} in {} ({})",
            text::count(count, "failure"),
            text::age(window),
            kinds_text(&failures.kinds)
        )
    })
}

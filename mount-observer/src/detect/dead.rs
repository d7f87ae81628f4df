//! Dead: the connection is gone. Nothing brings it back; only unmounting ends it.

use crate::{
    alert::{Severity, State},
    alerts::{Condition, Stage},
    connection::Cause,
    watched::Service,
};

use super::{View, victims};

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
    };
    let mut evidence = vec![how.to_owned()];
    evidence.extend(victims::failures_text(view, death.since));
    Some(Condition {
        kind: State::Dead,
        stage: Stage::Harm,
        severity: Severity::Critical,
        since: death.since,
        reason: format!("the FUSE connection is gone; {servers}"),
        evidence,
        victims,
        victims_total,
    })
}

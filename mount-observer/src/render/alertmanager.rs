//! Alerts as Alertmanager takes them: `POST /api/v2/alerts`, a list of these
//! (`api/v2/openapi.yaml` of Alertmanager 0.25, `postableAlerts`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::escape::escaped;
use crate::{
    alert::AlertKind,
    notify::{Notice, Status, rfc3339},
};

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// What identifies it: no process, no path but the mount point, nothing that changes.
    pub labels: BTreeMap<String, String>,
    /// What people read.
    pub annotations: BTreeMap<&'static str, String>,
    /// When the condition began.
    pub starts_at: String,
    /// When it ended; without, it fires until Alertmanager has not heard of it for `resolve_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<String>,
    /// Where its link leads.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
}

impl Alert {
    /// The alert of a notice, with these labels besides.
    pub fn new(notice: &Notice, more: &BTreeMap<String, String>, generator_url: &str) -> Self {
        let ends_at = match notice.status {
            Status::Firing => None,
            Status::Resolved => Some(notice.at_text()),
        };
        Self {
            labels: labels(notice, more),
            annotations: annotations(notice),
            starts_at: rfc3339(notice.started),
            ends_at,
            generator_url: generator_url.to_owned(),
        }
    }
}

/// `MountDead` and so on.
pub fn name(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Slow => "MountSlow",
        AlertKind::Erroring => "MountErroring",
        AlertKind::Stuck => "MountStuck",
        AlertKind::Recovery => "MountRecoveryFailed",
        AlertKind::Hung => "MountHung",
        AlertKind::Missing => "MountMissing",
        AlertKind::Dead => "MountDead",
        AlertKind::ShadowWrites => "MountShadowWrites",
    }
}

fn labels(notice: &Notice, more: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    // Without the epoch: another run of the observer counts anew, and the alert is the same.
    let superblock = notice.superblock.map(|id| id.dev.to_string());
    let own = [
        ("alertname", name(notice.kind)),
        ("severity", notice.severity.name()),
        ("instance", &notice.host),
        ("superblock", superblock.as_deref().unwrap_or("")),
        ("mountpoint", &notice.mountpoint),
        ("fstype", &notice.fstype),
        ("device", &notice.device),
        ("drill", if notice.is_drill { "true" } else { "" }),
    ];
    let own = own.map(|(label, value)| (label.to_owned(), escaped(value)));
    let more = more
        .iter()
        .map(|(label, value)| (label.clone(), value.clone()));
    // An empty label is none. What the configuration says does not replace what identifies.
    let all = more.chain(own).filter(|(_, value)| !value.is_empty());
    all.collect()
}

fn annotations(notice: &Notice) -> BTreeMap<&'static str, String> {
    let mount_points: Vec<String> = notice.mount_points.iter().map(|it| escaped(it)).collect();
    BTreeMap::from([
        ("summary", notice.line.clone()),
        ("description", escaped(&notice.reason)),
        ("advice", escaped(&notice.advice)),
        ("incident", notice.incident.to_string()),
        ("mount_points", mount_points.join(", ")),
        ("returns", notice.returns.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Change, Resolution, Transition},
        notify::Origin,
        render::fixture,
        time::Wall,
    };

    #[test]
    fn what_fires_has_no_end_and_what_ended_has_one() {
        let origin = Origin {
            host: "web1".to_owned(),
            is_drill: true,
        };
        let fires = Transition {
            mountpoint: "/mnt/\n\"a".to_owned(),
            ..fixture::transition()
        };
        let why = Resolution::Recovered;
        let ended = Transition {
            change: Change::Resolved { why },
            ..fires.clone()
        };
        let more = [("team", "storage"), ("severity", "none")];
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let alerts: Vec<Alert> = [(fires, Wall(0)), (ended, Wall(u64::MAX / 2))]
            .iter()
            .map(|(transition, at)| {
                let notice = Notice::new(&origin, *at, "", transition);
                Alert::new(&notice, &more.clone().into(), "http://web1:9967/")
            })
            .collect();
        insta::assert_snapshot!(serde_json::to_string_pretty(&alerts).unwrap());
    }
}

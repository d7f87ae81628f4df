//! What one sink is told of.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::Notice;
use crate::{
    alert::{AlertKind, Severity},
    config::{Config, ToldOf},
};

/// How a sink takes what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Each change is an event, told once.
    Events,
    /// It is given the present state, again and again: each kind of alert begins and ends there.
    State,
}

/// The route to one sink.
#[derive(Clone, Debug)]
pub struct Route {
    /// The sink's name.
    pub sink: String,
    handling: Handling,
    kinds: Vec<AlertKind>,
    min_severity: Severity,
    /// `None`: wherever it is mounted.
    mount_points: Option<GlobSet>,
}

impl Route {
    /// The routes to every sink of a configuration that is told of alerts, in a fixed order: syslog,
    /// Alertmanager, webhooks, commands.
    pub fn all(config: &Config) -> Result<Vec<Self>, globset::Error> {
        let names = config.sink_names();
        let routes = |section: &'static str, told_of: Vec<ToldOf<'_>>, handling| {
            let names = names.iter().filter(move |(of, _, _)| *of == section);
            let routes = names.zip(told_of);
            let routes = routes.map(|(&(_, _, name), told_of)| Self::new(name, told_of, handling));
            routes.collect::<Result<Vec<_>, _>>()
        };
        let syslog = config.syslog.iter().map(|sink| sink.told_of()).collect();
        let alertmanager = config.alertmanager.iter().map(|sink| sink.told_of());
        let webhook = config.webhook.iter().map(|sink| sink.told_of()).collect();
        let exec = config.exec.iter().map(|sink| sink.told_of()).collect();
        let mut all = routes("syslog", syslog, Handling::Events)?;
        all.extend(routes(
            "alertmanager",
            alertmanager.collect(),
            Handling::State,
        )?);
        all.extend(routes("webhook", webhook, Handling::Events)?);
        all.extend(routes("exec", exec, Handling::Events)?);
        Ok(all)
    }

    /// The route to one sink.
    pub fn new(
        sink: &str,
        told_of: ToldOf<'_>,
        handling: Handling,
    ) -> Result<Self, globset::Error> {
        Ok(Self {
            sink: sink.to_owned(),
            handling,
            kinds: told_of.kinds.to_vec(),
            min_severity: told_of.min_severity,
            mount_points: patterns(told_of.mount_points)?,
        })
    }

    /// Whether the sink wants to know of this.
    pub(super) fn admits(&self, notice: &Notice) -> bool {
        self.is_of_kind(notice.kind)
            && notice.severity >= self.min_severity
            && self.mount_points.as_ref().is_none_or(|patterns| {
                let mut points = notice.mount_points.iter().chain([&notice.mountpoint]);
                points.any(|point| patterns.is_match(point))
            })
    }

    /// Whether the end of an alert may wait for the one that takes over: the sink hears of that.
    pub(super) fn waits_for(&self, successor: AlertKind) -> bool {
        self.handling == Handling::Events && self.is_of_kind(successor)
    }

    fn is_of_kind(&self, kind: AlertKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

fn patterns(patterns: &[String]) -> Result<Option<GlobSet>, globset::Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build().map(Some)
}

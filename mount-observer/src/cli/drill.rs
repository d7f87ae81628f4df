//! `mount-observer drill`: an alert that is marked as a rehearsal goes through every sink.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use mount_observer::{
    alert::{AlertKind, Change, Resolution, Severity, Transition},
    config::Config,
    daemon::{clock, sink, store},
    incident::{AtRiskList, End, EndReason, Incident, IncidentId, Phase, Subject},
    render::escape::escaped,
    time::{Now, nanos},
};

use super::place::PlaceArgs;

/// Longest wait for the next sink: a command and a slow receiver, each twice.
const PATIENCE: Duration = Duration::from_mins(3);

#[derive(Args, Debug)]
pub(crate) struct DrillArgs {
    /// What kind of alert
    #[arg(long, value_name = "KIND", default_value = "dead")]
    kind: KindArg,
    /// The mount point it names; nothing there is looked at
    #[arg(long, value_name = "PATH")]
    mount: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[cfg(test)]
impl DrillArgs {
    pub(super) fn place(&self) -> &PlaceArgs {
        &self.place
    }
}

/// A kind of alert.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    Slow,
    Erroring,
    Stuck,
    Hung,
    Dead,
    Missing,
    ShadowWrites,
    Recovery,
}

impl From<KindArg> for AlertKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Slow => Self::Slow,
            KindArg::Erroring => Self::Erroring,
            KindArg::Stuck => Self::Stuck,
            KindArg::Hung => Self::Hung,
            KindArg::Dead => Self::Dead,
            KindArg::Missing => Self::Missing,
            KindArg::ShadowWrites => Self::ShadowWrites,
            KindArg::Recovery => Self::Recovery,
        }
    }
}

/// Rehearses; says what came of each sink as it comes, and in the end whether all went well.
pub(crate) fn rehearse(
    args: &DrillArgs,
    show: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let config = args.place.config()?;
    let now = clock::now();
    let firing = transition(args, now);
    let resolved = Transition {
        change: Change::Resolved {
            why: Resolution::Recovered,
        },
        age_ns: 1_000_000_000,
        ..firing.clone()
    };
    let mut is_well = true;
    let names = config.sink_names().len();
    let results = sink::rehearse(&config, &firing, &resolved).context("cannot use a sink")?;
    loop {
        match results.recv_timeout(PATIENCE) {
            Ok(one) => {
                is_well &= one.firing.is_ok() && one.resolved.is_ok();
                let (firing, resolved) = (outcome(&one.firing), outcome(&one.resolved));
                show(&format!(
                    "{}: firing {firing}; resolved {resolved}\n",
                    one.sink
                ))?;
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                is_well = false;
                show("a sink has not answered; not waiting any longer\n")?;
                break;
            }
        }
    }
    if names == 0 {
        show("No sink is configured: alerts go to the log alone\n")?;
    }
    is_well &= keep(&config, &firing, now, &show)?;
    Ok(is_well)
}

fn outcome(result: &Result<(), String>) -> String {
    match result {
        Ok(()) => "delivered".to_owned(),
        Err(error) => format!("FAILED ({})", escaped(error)),
    }
}

/// Everything in it is words: nothing was looked at.
fn transition(args: &DrillArgs, now: Now) -> Transition {
    Transition {
        change: Change::Firing,
        kind: args.kind.into(),
        severity: Severity::Critical,
        incident: IncidentId::new(now.wall, "drill"),
        returns: 0,
        superblock: None,
        fstype: "drill".to_owned(),
        device: "drill".to_owned(),
        mountpoint: args.mount.clone(),
        mount_points: vec![args.mount.clone()],
        caused_by: Vec::new(),
        namespace: None,
        successor: None,
        since: now.mono,
        since_unix_ns: now.wall,
        age_ns: 0,
        reason: "this is a drill: nothing is wrong, and nothing was looked at".to_owned(),
        evidence: vec!["this is a drill".to_owned()],
        victims: Vec::new(),
        victims_total: 0,
        advice: "nothing: this is a drill".to_owned(),
    }
}

/// Writes the incident, marked and ended.
fn keep(
    config: &Config,
    firing: &Transition,
    begun: Now,
    show: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let directory = match store::directory(config) {
        Ok(None) => {
            show("incident: not written, storage.path is empty\n")?;
            return Ok(true);
        }
        found => found.map(Option::unwrap_or_default),
    };
    let incident = incident(firing, begun);
    let kept = directory
        .and_then(|directory| store::Database::open(&directory))
        .and_then(|mut database| database.keep(std::iter::once(&incident)));
    match kept {
        Ok(_) => show(&format!("incident: {} written\n", incident.id))?,
        Err(error) => {
            let error = anyhow::Error::from(error);
            show(&format!(
                "incident: FAILED ({})\n",
                escaped(&format!("{error:#}"))
            ))?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn incident(firing: &Transition, begun: Now) -> Incident {
    let now = clock::now();
    Incident {
        id: firing.incident.clone(),
        is_drill: true,
        subject: Subject {
            boot_id: String::new(),
            device_number: None,
            fstype: firing.fstype.clone(),
            source: firing.device.clone(),
            mount_point: firing.mountpoint.clone(),
            mounts: Vec::new(),
        },
        kind: firing.kind,
        severity: firing.severity,
        phases: vec![Phase {
            kind: firing.kind,
            severity: firing.severity,
            started_unix_ns: begun.wall,
            ended_unix_ns: Some(now.wall),
            reason: firing.reason.clone(),
        }],
        started_unix_ns: begun.wall,
        started_monotonic_ns: begun.mono.0,
        detected_unix_ns: begun.wall,
        detection_delay_ns: 0,
        ended: Some(End {
            at_unix_ns: now.wall,
            duration_ns: Some(nanos(now.mono.since(begun.mono))),
            why: EndReason::Drill,
        }),
        returns: 0,
        reason: firing.reason.clone(),
        evidence: firing.evidence.clone(),
        advice: firing.advice.clone(),
        failures: Vec::new(),
        victims: Vec::new(),
        victims_total: 0,
        servers: Vec::new(),
        abort: None,
        stacks: Vec::new(),
        sysctls: Vec::new(),
        last_success_unix_ns: None,
        at_risk: AtRiskList::default(),
        cut: Vec::new(),
        recovery: Vec::new(),
    }
}

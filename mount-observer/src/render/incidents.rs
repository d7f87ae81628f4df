//! Incidents for people: a list of many, and one with all there is to say.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::{
    duration::Age,
    escape::{Escaped, escaped},
};
use crate::{
    incident::{Incident, IncidentVictim, Phase, Summary},
    recovery::RecoveryRun,
    text::{append, count},
    time::Wall,
};

const COLUMNS: usize = 7;
const HEADINGS: [&str; COLUMNS] = [
    "INCIDENT",
    "KIND",
    "BEGAN (UTC)",
    "LASTED",
    "ENDED",
    "VICTIMS",
    "MOUNT POINT",
];

/// Entries of a list of one incident that are shown; the rest is counted, and is in the JSON.
const SHOWN_MAX: usize = 20;

/// A line for each, the latest first.
pub fn table(incidents: &[Summary], now: Wall) -> String {
    if incidents.is_empty() {
        return "No incident is remembered that matches\n".to_owned();
    }
    let rows: Vec<_> = incidents
        .iter()
        .map(|incident| cells(incident, now))
        .collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = line(&HEADINGS.map(str::to_owned), &widths);
    for row in &rows {
        out.push_str(&line(row, &widths));
    }
    out
}

fn cells(incident: &Summary, now: Wall) -> [String; COLUMNS] {
    let lasted = incident.lasts_ns(now);
    let ended = incident.ended_why.as_deref().unwrap_or("goes on");
    let drill = if incident.is_drill { " (drill)" } else { "" };
    let returns = match incident.returns {
        0 => String::new(),
        returns => format!(", came back {returns}x"),
    };
    [
        incident.id.clone(),
        format!("{}{drill}", incident.kind),
        at(incident.started_unix_ns),
        lasted.map_or_else(|| "not known".to_owned(), |ns| Age(ns).to_string()),
        format!("{}{returns}", ended.replace('_', " ")),
        incident.victims.to_string(),
        incident.mount_point.clone(),
    ]
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        append(&mut out, format_args!("{cell:<width$}  "));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// All of one incident.
pub fn page(incident: &Incident, now: Wall) -> String {
    let mut out = String::new();
    heading(&mut out, incident, now);
    list(
        &mut out,
        "Phases",
        &incident.phases,
        incident.phases.len(),
        phase,
    );
    let evidence = |line: &String| escaped(line);
    list(
        &mut out,
        "Evidence",
        &incident.evidence,
        incident.evidence.len(),
        evidence,
    );
    let failures = |failed: &crate::incident::FailureCount| {
        let (operation, errno) = (Escaped(&failed.operation), Escaped(&failed.errno));
        format!(
            "{errno} on {operation} x {}, at most {} in one window",
            failed.count, failed.peak
        )
    };
    list(
        &mut out,
        "Failures",
        &incident.failures,
        incident.failures.len(),
        failures,
    );
    let victims = usize::try_from(incident.victims_total).unwrap_or(usize::MAX);
    list(&mut out, "Victims", &incident.victims, victims, victim);
    servers(&mut out, incident);
    at_risk_section(&mut out, incident);
    list(
        &mut out,
        "Recovery",
        &incident.recovery,
        incident.recovery.len(),
        recovery,
    );
    let stack = |stack: &crate::incident::Stack| {
        let functions: Vec<_> = stack.functions.iter().map(|name| escaped(name)).collect();
        format!(
            "{}[{}]: {}",
            Escaped(&stack.comm),
            stack.tid,
            functions.join(" < ")
        )
    };
    list(
        &mut out,
        "Kernel stacks, innermost first",
        &incident.stacks,
        incident.stacks.len(),
        stack,
    );
    mounts(&mut out, incident);
    out
}

/// What may not have reached its file, all of it.
pub fn at_risk(incident: &Incident) -> String {
    let list = &incident.at_risk;
    if list.is_empty() {
        return format!(
            "{}: nothing is known to be at risk. {}\n",
            incident.id,
            window(incident)
        );
    }
    let mut out = format!("{}: data at risk. {}\n", incident.id, window(incident));
    for entry in &list.entries {
        append(&mut out, format_args!("{}\n", Escaped(&entry.to_string())));
    }
    if list.dropped > 0 {
        let more = count(list.dropped, "entry").replace("entrys", "entries");
        append(&mut out, format_args!("and {more} that did not fit\n"));
    }
    out
}

/// Between which two moments what was written may be lost.
fn window(incident: &Incident) -> String {
    let from = incident.last_success_unix_ns.map_or_else(
        || "When something last succeeded is not known".to_owned(),
        |at_ns| format!("Something last succeeded at {}", at(at_ns)),
    );
    match &incident.ended {
        Some(end) => format!("{from}; it ended at {}.", at(end.at_unix_ns)),
        None => format!("{from}; it goes on."),
    }
}

/// A self-contained document: the incident, and what it was written by.
#[derive(Clone, Debug, Serialize)]
pub struct Export {
    /// What this is.
    pub document: &'static str,
    /// Version of the program that wrote it.
    pub version: &'static str,
    /// When it was written, ns since the epoch.
    pub exported_unix_ns: Wall,
    /// The incident, all of it.
    pub incident: Incident,
    /// The same for people.
    pub page: Vec<String>,
    /// What may not have reached its file, for people.
    pub at_risk: Vec<String>,
}

/// The document of one incident.
pub fn export(incident: Incident, now: Wall, version: &'static str) -> Export {
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    Export {
        document: "mount-observer incident",
        version,
        exported_unix_ns: now,
        page: lines(page(&incident, now)),
        at_risk: lines(at_risk(&incident)),
        incident,
    }
}

fn heading(out: &mut String, incident: &Incident, now: Wall) {
    let subject = &incident.subject;
    let summary = Summary::of(incident);
    let drill = if incident.is_drill {
        " (a drill: nothing happened)"
    } else {
        ""
    };
    append(
        out,
        format_args!(
            "{} {}: {} on {} ({}, from {}){drill}\n  {}\n",
            incident.id,
            incident.severity.name(),
            incident.kind.name(),
            Escaped(&subject.mount_point),
            Escaped(&subject.fstype),
            Escaped(&subject.source),
            Escaped(&incident.reason),
        ),
    );
    append(
        out,
        format_args!(
            "Began {} UTC, told after {}\n",
            at(incident.started_unix_ns),
            Age(incident.detection_delay_ns)
        ),
    );
    let lasts = summary.lasts_ns(now).map(Age);
    let returns = match incident.returns {
        0 => String::new(),
        returns => format!("; came back {returns} times"),
    };
    match (&incident.ended, lasts) {
        (Some(end), Some(lasted)) => append(
            out,
            format_args!(
                "Ended {} UTC: {}, after {lasted}{returns}\n",
                at(end.at_unix_ns),
                why(incident)
            ),
        ),
        (Some(end), None) => append(
            out,
            format_args!(
                "Ended {} UTC: {}, when is not known{returns}\n",
                at(end.at_unix_ns),
                why(incident)
            ),
        ),
        (None, lasts) => append(
            out,
            format_args!("Goes on, for {} by now{returns}\n", lasts.unwrap_or(Age(0))),
        ),
    }
    if !incident.advice.is_empty() {
        append(out, format_args!("Advice: {}\n", Escaped(&incident.advice)));
    }
}

fn why(incident: &Incident) -> String {
    let why = incident.ended.as_ref().map_or("", |end| end.why.name());
    why.replace('_', " ")
}

fn phase(phase: &Phase) -> String {
    let until = phase.ended_unix_ns.map_or_else(|| "now".to_owned(), at);
    let (kind, severity) = (phase.kind.name(), phase.severity.name());
    let from = at(phase.started_unix_ns);
    format!(
        "{from} to {until} {kind} ({severity}): {}",
        Escaped(&phase.reason)
    )
}

fn victim(victim: &IncidentVictim) -> String {
    let mut said = format!("{}[{}]", Escaped(&victim.comm), victim.pid);
    if victim.tid != victim.pid {
        append(&mut said, format_args!(" thread {}", victim.tid));
    }
    if let Some(unit) = &victim.unit {
        append(&mut said, format_args!(" of {}", Escaped(unit)));
    }
    if let Some(operation) = &victim.operation {
        append(&mut said, format_args!(" {}", Escaped(operation)));
    }
    if let Some(path) = &victim.path {
        append(&mut said, format_args!(" {}", Escaped(path)));
    }
    if let Some(wait) = victim.longest_wait_ns {
        append(&mut said, format_args!(", waited {}", Age(wait)));
    }
    if let Some(errno) = &victim.errno {
        append(&mut said, format_args!(", got {}", Escaped(errno)));
    }
    let (first, last) = (at(victim.first_seen_unix_ns), at(victim.last_seen_unix_ns));
    append(&mut said, format_args!(", seen {first} to {last}"));
    said
}

fn servers(out: &mut String, incident: &Incident) {
    let server = |server: &crate::incident::ServerFate| {
        let unit = server
            .unit
            .as_deref()
            .map(|unit| format!(" of {}", Escaped(unit)));
        let exit = server
            .exit
            .as_deref()
            .map(|exit| format!(": {}", Escaped(exit)));
        format!(
            "{}[{}]{} {}{}",
            Escaped(&server.comm),
            server.pid,
            unit.unwrap_or_default(),
            server.status,
            exit.unwrap_or_default()
        )
    };
    list(
        out,
        "Servers",
        &incident.servers,
        incident.servers.len(),
        server,
    );
    if let Some(abort) = &incident.abort {
        append(out, format_args!("Connection: {}\n", Escaped(abort)));
    }
}

fn at_risk_section(out: &mut String, incident: &Incident) {
    let list = &incident.at_risk;
    if list.is_empty() {
        append(
            out,
            format_args!("Data at risk: none is known. {}\n", window(incident)),
        );
        return;
    }
    append(out, format_args!("Data at risk: {}\n", window(incident)));
    for entry in list.entries.iter().take(SHOWN_MAX) {
        append(out, format_args!("  {}\n", Escaped(&entry.to_string())));
    }
    let hidden = list.entries.len().saturating_sub(SHOWN_MAX);
    let hidden = u64::try_from(hidden)
        .unwrap_or(u64::MAX)
        .saturating_add(list.dropped);
    if hidden > 0 {
        append(
            out,
            format_args!(
                "  and {hidden} more: `incidents show {} --at-risk`\n",
                incident.id
            ),
        );
    }
}

fn recovery(run: &RecoveryRun) -> String {
    let outcome = run
        .outcome
        .map_or("goes on", crate::recovery::Outcome::name);
    let steps = run.steps.iter().map(|step| {
        let detail = Escaped(&step.detail);
        format!("{}: {} {detail}", Escaped(&step.step), step.outcome.name())
    });
    let steps: Vec<_> = steps.collect();
    format!(
        "{} {outcome}: {}",
        at(run.started_unix_ns),
        steps.join("; ")
    )
}

fn mounts(out: &mut String, incident: &Incident) {
    let mount = |mount: &crate::incident::IncidentMount| {
        format!(
            "{} {} {} {} in namespace {}",
            mount.mount_id,
            Escaped(&mount.root),
            Escaped(&mount.mount_point),
            Escaped(&mount.options),
            mount.mount_namespace
        )
    };
    let all = &incident.subject.mounts;
    list(
        out,
        "Mounts (id, root, mount point, options)",
        all,
        all.len(),
        mount,
    );
    for (name, value) in &incident.sysctls {
        append(out, format_args!("{}: {}\n", Escaped(name), Escaped(value)));
    }
    for what in &incident.cut {
        append(
            out,
            format_args!(
                "not complete: {}\n",
                Escaped(what).to_string().replace('_', " ")
            ),
        );
    }
}

/// A section with a bounded number of lines; `total` counts also what was never kept.
fn list<T>(out: &mut String, heading: &str, all: &[T], total: usize, said: impl Fn(&T) -> String) {
    if all.is_empty() {
        return;
    }
    append(out, format_args!("{heading}:\n"));
    for one in all.iter().take(SHOWN_MAX) {
        append(out, format_args!("  {}\n", said(one)));
    }
    let hidden = total.saturating_sub(all.len().min(SHOWN_MAX));
    if hidden > 0 {
        append(out, format_args!("  and {hidden} more\n"));
    }
}

/// `2026-11-21 18:35:31`, UTC.
fn at(at: Wall) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(at.0);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    text.replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests;

//! What a replay shows: alerts as the log of the daemon shows them, and in the end what came of it.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;

use crate::{
    alert::{Change, Severity, Transition},
    incident::Incident,
    recording::{Flaw, Reader, Tally},
    render::{
        alert_line::alert_line,
        escape::escaped,
        trace::{self, Paper},
    },
    snapshot::Snapshot,
    text::append,
    time::{Now, Wall},
    trace::{Line, Summary},
};

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs: one JSON object per line.
    Json,
}

/// One object of the JSON form.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Object<'a> {
    /// An incident as it was known at the end.
    Incident { incident: &'a Incident },
    /// Inputs are missing here.
    NotRecorded { unix_ns: Wall, inputs: u64 },
    /// What was known at the end.
    Snapshot { snapshot: &'a Snapshot },
    /// What the recording is.
    Recording {
        format: u32,
        program: &'a str,
        release: Option<&'a str>,
        boot_id: String,
        started_unix_ns: Wall,
        is_trace: bool,
        first_unix_ns: Option<Wall>,
        last_unix_ns: Option<Wall>,
        counts: &'a BTreeMap<&'static str, u64>,
    },
    /// How it ended; always the last.
    End {
        entries: u64,
        lost: u64,
        unknown: u64,
        bytes: u64,
        /// `whole`, `cut` or `damaged`.
        state: &'static str,
        damage: Option<Damage>,
    },
}

#[derive(Debug, Serialize)]
struct Damage {
    offset: u64,
    what: String,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    tally: Tally,
    flaw: Option<Flaw>,
}

impl End {
    /// Of one that was read.
    pub fn of(reader: &Reader<'_>) -> Self {
        Self {
            tally: reader.tally(),
            flaw: reader.flaw().cloned(),
        }
    }

    /// Whether it was read to its end.
    pub fn is_whole(&self) -> bool {
        self.flaw.is_none()
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let damage = self.flaw.as_ref().map(|flaw| Damage {
            offset: flaw.offset,
            what: flaw.error.to_string(),
        });
        let state = match &self.flaw {
            None => "whole",
            Some(flaw) if flaw.is_cut() => "cut",
            Some(_) => "damaged",
        };
        json(&Object::End {
            entries: self.tally.entries,
            lost: self.tally.lost,
            unknown: self.tally.unknown,
            bytes: self.tally.bytes,
            state,
            damage,
        })
    }

    /// What is wrong with it, a line each.
    pub fn complaints(&self) -> Vec<String> {
        let Tally {
            entries,
            unknown,
            lost,
            bytes,
        } = self.tally;
        let mut lines = Vec::new();
        if lost > 0 {
            lines.push(format!(
                "{lost} inputs were not recorded: what follows from them is missing"
            ));
        }
        if unknown > 0 {
            lines.push(format!(
                "{unknown} entries of a later version were left out"
            ));
        }
        if let Some(flaw) = &self.flaw {
            let what = if flaw.is_cut() {
                "the recording was cut off"
            } else {
                "the recording is damaged"
            };
            let (offset, error) = (flaw.offset, &flaw.error);
            lines.push(format!(
                "{what} at byte {offset} ({error}); the {entries} entries before it ({bytes} bytes) were read"
            ));
        }
        lines
    }
}

/// A change of an alert, on a line.
pub(super) fn alert(now: Now, transition: &Transition, form: Form, is_coloured: bool) -> String {
    if form == Form::Json {
        let line = Line::Alert {
            at: now.wall,
            transition: Box::new(transition.clone()),
        };
        return traced(&line, form, Paper::default());
    }
    let (level, colour) = match (transition.change, transition.severity) {
        (Change::Firing, Severity::Critical) => ("ERROR", "\x1b[1;31m"),
        (Change::Firing, Severity::Warning) => ("WARN ", "\x1b[33m"),
        (Change::Resolved { .. }, _) => ("INFO ", "\x1b[2m"),
    };
    let (colour, plain) = if is_coloured {
        (colour, "\x1b[0m")
    } else {
        ("", "")
    };
    let line = escaped(&alert_line(transition));
    format!("{} {colour}{level}{plain} {line}\n", At(now.wall))
}

/// Inputs that are missing here, on a line.
pub(super) fn lost(now: Now, inputs: u64, form: Form) -> String {
    match form {
        Form::Json => json(&Object::NotRecorded {
            unix_ns: now.wall,
            inputs,
        }),
        Form::Text => format!(
            "{} WARN  {inputs} inputs were not recorded here\n",
            At(now.wall)
        ),
    }
}

/// An incident as it was known at the end, as JSON.
pub(super) fn incident(incident: &Incident) -> String {
    json(&Object::Incident { incident })
}

/// A line of a trace.
pub(super) fn traced(line: &Line, form: Form, paper: Paper) -> String {
    match form {
        Form::Json => serde_json::to_string(&trace::json::object(line)).unwrap_or_default() + "\n",
        Form::Text => trace::line(line, paper),
    }
}

/// The summary of a trace.
pub(super) fn summary(summary: &Summary, form: Form, paper: Paper) -> String {
    match form {
        Form::Json => {
            let object = trace::json::Object::Summary(summary);
            serde_json::to_string(&object).unwrap_or_default() + "\n"
        }
        Form::Text => trace::summary::text(summary, paper),
    }
}

/// What was known at the end, as JSON.
pub(super) fn snapshot(snapshot: &Snapshot) -> String {
    json(&Object::Snapshot { snapshot })
}

/// What a recording holds.
pub fn info(
    reader: &Reader<'_>,
    counts: &BTreeMap<&'static str, u64>,
    span: Option<(Now, Now)>,
    form: Form,
) -> String {
    let header = reader.header();
    let release = header.kernel.as_ref().map(|kernel| kernel.release.as_str());
    let (first, last) = span.map(|(first, last)| (first.wall, last.wall)).unzip();
    if form == Form::Json {
        return json(&Object::Recording {
            format: header.format,
            program: &header.program,
            release,
            boot_id: header.self_info().boot.to_string(),
            started_unix_ns: header.started().wall,
            is_trace: header.trace.is_some(),
            first_unix_ns: first,
            last_unix_ns: last,
            counts,
        });
    }
    let kind = if header.trace.is_some() {
        "a trace"
    } else {
        "a watch"
    };
    let mut text = format!(
        "recording of {kind} by mount-observer {}, format {}\nkernel {}, boot {}\nbegun {}\n",
        escaped(&header.program),
        header.format,
        escaped(release.unwrap_or("unknown")),
        header.self_info().boot,
        At(header.started().wall),
    );
    if let (Some((first, last)), Some(from), Some(to)) = (span, first, last) {
        let length = last.mono.since(first.mono).as_secs_f64();
        append(
            &mut text,
            format_args!("holds {} to {} ({length:.1} s)\n", At(from), At(to)),
        );
    }
    for (kind, count) in counts {
        append(&mut text, format_args!("{count:>9} {kind}\n"));
    }
    text
}

/// `2026-11-21T09:40:01.123Z`.
struct At(Wall);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = UNIX_EPOCH + Duration::from_nanos(self.0.0);
        humantime::format_rfc3339_millis(at).fmt(f)
    }
}

fn json(object: &Object<'_>) -> String {
    serde_json::to_string(object).unwrap_or_default() + "\n"
}

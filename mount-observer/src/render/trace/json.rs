//! The lines of a trace, for programs: one object each. docs/API.md has the fields.

use serde::Serialize;

use super::file_text;
use crate::{
    alert::{Change, Severity},
    errno::Errno,
    incident::IncidentId,
    operation::Operation,
    render::alert_line::alert_line,
    superblock::{Dev, SuperblockId},
    time::Wall,
    trace::{Line, Lost, OperationLine, State, Summary},
};

/// One line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Object<'a> {
    /// An operation.
    Operation(Operated<'a>),
    /// An alert changed.
    Alert(Alerted<'a>),
    /// Something was not seen.
    Lost(&'a Lost),
    /// The end.
    Summary(&'a Summary),
}

/// An operation.
#[derive(Clone, Debug, Serialize)]
pub struct Operated<'a> {
    state: &'static str,
    unix_ns: Wall,
    pid: Option<u32>,
    tid: Option<u32>,
    comm: Option<&'a str>,
    superblock: Dev,
    mount_point: &'a str,
    fstype: &'a str,
    op: Option<Operation>,
    waits_in: Option<&'a str>,
    file: Option<String>,
    unique: Option<u64>,
    errno: Option<Errno>,
    latency_ns: Option<u64>,
    is_at_least: bool,
    was_blocked: bool,
}

/// An alert.
#[derive(Clone, Debug, Serialize)]
pub struct Alerted<'a> {
    unix_ns: Wall,
    status: &'static str,
    kind: &'static str,
    severity: Severity,
    incident: &'a IncidentId,
    superblock: Option<SuperblockId>,
    mount_point: &'a str,
    fstype: &'a str,
    device: &'a str,
    reason: &'a str,
    evidence: &'a [String],
    advice: &'a str,
    line: String,
}

/// A line as an object.
pub fn object(line: &Line) -> Object<'_> {
    match line {
        Line::Operation(line) => Object::Operation(operated(line)),
        Line::Alert { at, transition } => Object::Alert(Alerted {
            unix_ns: *at,
            status: match transition.change {
                Change::Firing => "firing",
                Change::Resolved { .. } => "resolved",
            },
            kind: transition.kind.name(),
            severity: transition.severity,
            incident: &transition.incident,
            superblock: transition.superblock,
            mount_point: &transition.mountpoint,
            fstype: &transition.fstype,
            device: &transition.device,
            reason: &transition.reason,
            evidence: &transition.evidence,
            advice: &transition.advice,
            line: alert_line(transition),
        }),
        Line::Lost(lost) => Object::Lost(lost),
    }
}

fn operated(line: &OperationLine) -> Operated<'_> {
    let caller = line.caller.as_ref();
    Operated {
        state: match line.state {
            State::Blocked => "blocked",
            State::Ok | State::Failed => "ended",
            State::Gone => "gone",
        },
        unix_ns: line.at,
        pid: caller.map(|caller| caller.pid),
        tid: caller.map(|caller| caller.tid),
        comm: caller.map(|caller| caller.comm.as_str()),
        superblock: line.dev,
        mount_point: &line.place.mount_point,
        fstype: &line.place.fstype,
        op: line.operation,
        waits_in: line.waits_in.as_deref(),
        file: line.file.as_ref().map(file_text),
        unique: line.unique,
        errno: line.errno,
        latency_ns: line.latency_ns,
        is_at_least: line.is_at_least,
        was_blocked: line.was_blocked,
    }
}

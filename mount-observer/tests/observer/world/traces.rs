//! What the programs of the model write to the ring for a trace, and what the trace shows.

use mount_observer::{
    config::Config,
    input::{Input, SelfInfo},
    observer::Observer,
    render::trace::{self, Paper},
    session::Session,
    trace::{Line, Options, Tracer},
};
use mount_observer_common::{
    Op, PATH_MAX_BYTES, PathRecord, Record, TRACE_NAME_BYTES, TraceRecord,
};
use zerocopy::IntoBytes;

use super::{Process, Request, World};

/// A path call that ended.
pub(crate) struct Traced<'a> {
    pub(crate) dev: u32,
    pub(crate) op: u16,
    pub(crate) errno: u16,
    pub(crate) latency_ns: u64,
    pub(crate) path: &'a str,
    pub(crate) caller: Process,
}

/// With a trace, where there is one.
pub(crate) fn session(config: &Config, info: SelfInfo, trace: Option<&Options>) -> Session {
    let session = Session::new(Observer::new(config, info).unwrap());
    match trace {
        Some(options) => session.traced(Tracer::new(options).unwrap()),
        None => session,
    }
}

impl World {
    /// A request ended.
    pub(super) fn trace_request(&mut self, number: u64, request: &Request, errno: u16) {
        if self.trace.is_none() {
            return;
        }
        let op = u32::from(Op::Fuse(request.opcode).to_wire());
        let record = self.record(10, op, request.dev, u32::from(errno), &request.caller);
        let latency_ns = if request.is_tracked {
            self.now - request.start
        } else {
            0
        };
        // LOOKUP has a name.
        let name = if request.opcode == 1 { "file" } else { "" };
        let mut bytes = [0; TRACE_NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let record = TraceRecord {
            record: Record {
                latency_ns,
                ..record
            },
            nodeid: 1,
            unique: number,
            pad: 0,
            name_len: u32::try_from(name.len()).unwrap(),
            name: bytes,
        };
        self.feed(Input::Record(record.as_bytes().to_vec()));
    }

    /// A path call ended.
    pub(crate) fn trace_call(&mut self, call: &Traced<'_>) {
        let (op, errno) = (u32::from(call.op), u32::from(call.errno));
        let record = self.record(11, op, call.dev, errno, &call.caller);
        let mut path = [0; PATH_MAX_BYTES];
        path[..call.path.len()].copy_from_slice(call.path.as_bytes());
        let record = PathRecord {
            record: Record {
                latency_ns: call.latency_ns,
                ..record
            },
            dfd: -100,
            cause_dev: 0,
            is_exact: 1,
            path_len: u32::try_from(call.path.len()).unwrap(),
            path,
        };
        self.feed(Input::Record(record.as_bytes().to_vec()));
    }

    /// Shows the lines of the trace; alerts are told anyway.
    pub(super) fn show_lines(&mut self) {
        for line in self.session.take_lines() {
            if self.keeps_lines {
                self.lines.push(line);
                continue;
            }
            if !matches!(line, Line::Alert { .. }) {
                self.log.push_str(&trace::line(&line, Paper::default()));
            }
        }
    }

    /// Shows what the trace comes to.
    pub(crate) fn show_summary(&mut self) {
        let summary = self.session.tracer().unwrap().summary();
        let text = trace::summary::text(&summary, Paper::default());
        self.log.push_str(&text);
    }
}

//! From wire types to what they mean. The only module of the pure part that names them.
//!
//! The bytes come from our own programs, but a record may be cut, a list walked without its lock may
//! show garbage, and a recording may be older: nothing here panics, and what cannot be read is
//! reported as such.

mod event;
mod file;

pub use event::{Abort, Ended, Event, PathArgument, ShadowWrite, Traced, Write, event};
pub use file::{File, Name};

use std::time::Duration;

use mount_observer_common::{
    BUCKETS, HolderRow, InFlight, Op, QueuedRow, RowKind, TaskRow, TotalsKey, TotalsValue,
};
use zerocopy::FromBytes;

use crate::{
    errno::Errno,
    input::{InFlightReading, TotalsReading},
    operation::Operation,
    superblock::Dev,
    text,
    time::Mono,
};

/// `__TASK_STOPPED | __TASK_TRACED | TASK_FROZEN` (`include/linux/sched.h`): does not run until told.
const STOPPED: u32 = 0x4 | 0x8 | 0x8000;
/// `TASK_INTERRUPTIBLE`.
const INTERRUPTIBLE: u32 = 0x1;
/// `TASK_UNINTERRUPTIBLE`; a killable sleep has it too.
const UNINTERRUPTIBLE: u32 = 0x2;

/// A process and one of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: String,
}

/// One `/dev/fuse` descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Address of the connection.
    pub connection: u64,
    /// The connection's number; `None` while not mounted.
    pub dev: Option<Dev>,
    /// The holder.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Whether it is stopped.
    pub is_stopped: bool,
    /// Whether the connection is alive.
    pub is_connected: bool,
    /// Requests that wait for an answer or a slot.
    pub waiting: u32,
    /// Whether requests were found that do not follow.
    pub is_cut: bool,
}

/// One request found on a connection's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Address of the request.
    pub request: u64,
    /// Its number, once assigned.
    pub unique: Option<u64>,
    /// The FUSE node.
    pub nodeid: u64,
    /// Since it was created, where the kernel keeps that.
    pub age: Option<Duration>,
    /// The connection.
    pub dev: Dev,
    /// What it asks.
    pub operation: Operation,
    /// The caller as the server sees it, where mapped.
    pub pid: Option<u32>,
    /// Whether the server has read it.
    pub is_at_server: bool,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Who.
    pub caller: Caller,
    /// When it entered its system call, where known.
    pub since: Option<Mono>,
    /// Context switches so far, where read.
    pub switches: Option<u64>,
    /// `S`, `D`, `T` or `R`, as ps shows it.
    pub state: char,
    /// Whether it does not run until told.
    pub is_stopped: bool,
    /// Where its path walk stands.
    pub walk_dev: Option<Dev>,
    /// Where the file of its system call lies.
    pub file_dev: Option<Dev>,
    /// Which superblock its call has reached.
    pub call_dev: Option<Dev>,
    /// The FUSE superblock it asks, or asked last within its call.
    pub cause_dev: Option<Dev>,
    /// Kernel return addresses, innermost first.
    pub stack: Vec<u64>,
}

/// One row of an iterator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A `/dev/fuse` descriptor.
    Holder(Holder),
    /// A request.
    Queued(Queued),
    /// A task.
    Task(Box<Task>),
    /// A file that is open for writing.
    File(Box<File>),
}

/// A request that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub start: Mono,
    /// Its number, where assigned by then.
    pub unique: Option<u64>,
    /// The FUSE node.
    pub nodeid: u64,
    /// The superblock.
    pub dev: Dev,
    /// What it asks.
    pub operation: Operation,
    /// Who asked.
    pub caller: Caller,
    /// The caller's cgroup v2 id, in a trace.
    pub cgroup: Option<u64>,
}

/// What a counter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// The superblock; `None` for what the kernel side could not attribute.
    pub dev: Option<Dev>,
    /// The operation.
    pub operation: Operation,
    /// `None` for success.
    pub errno: Option<Errno>,
}

/// Counters since attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Ended.
    pub count: u64,
    /// Sum of known latencies, ns.
    pub sum_ns: u64,
    /// The last end.
    pub last: Mono,
    /// Slower than the threshold.
    pub slow: u64,
    /// Known latencies by bucket.
    pub buckets: [u32; BUCKETS],
}

/// Reads the rows of one iterator run; the second value counts what could not be read.
pub fn rows(mut bytes: &[u8]) -> (Vec<Row>, u64) {
    let mut rows = Vec::new();
    let mut bad = 0;
    while !bytes.is_empty() {
        let Some((row, rest)) = split_row(bytes) else {
            // The size is what leads to the next row: without one the tail is lost.
            return (rows, bad + 1);
        };
        match read_row(row) {
            Some(row) => rows.push(row),
            None => bad += 1,
        }
        bytes = rest;
    }
    (rows, bad)
}

fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, _) = u32::read_from_prefix(bytes.get(4..)?).ok()?;
    let size = usize::try_from(size).ok().filter(|size| *size >= 8)?;
    bytes.split_at_checked(size)
}

fn read_row(row: &[u8]) -> Option<Row> {
    let (kind, _) = u32::read_from_prefix(row).ok()?;
    let is = |wanted: RowKind| {
        #[expect(
            clippy::as_conversions,
            reason = "the discriminant of a repr(u32) enum"
        )]
        let number = wanted as u32;
        kind == number
    };
    if is(RowKind::Holder) {
        let (row, _) = HolderRow::read_from_prefix(row).ok()?;
        Some(Row::Holder(holder(&row)))
    } else if is(RowKind::Queued) {
        let (row, _) = QueuedRow::read_from_prefix(row).ok()?;
        Some(Row::Queued(queued(&row)?))
    } else if is(RowKind::Task) {
        let (row, _) = TaskRow::read_from_prefix(row).ok()?;
        Some(Row::Task(Box::new(task(&row))))
    } else if is(RowKind::File) {
        file::file(row).map(Box::new).map(Row::File)
    } else {
        None
    }
}

fn holder(row: &HolderRow) -> Holder {
    Holder {
        connection: row.connection_ptr,
        dev: dev(row.dev),
        pid: row.tgid,
        comm: comm(&row.comm),
        is_stopped: row.task_state & STOPPED != 0,
        is_connected: row.connected != 0,
        waiting: row.waiting,
        is_cut: row.queued_emitted < row.queued_seen,
    }
}

fn queued(row: &QueuedRow) -> Option<Queued> {
    Some(Queued {
        request: row.request_ptr,
        unique: (row.unique != 0).then_some(row.unique),
        nodeid: row.nodeid,
        age: (row.age_ns != u64::MAX).then_some(Duration::from_nanos(row.age_ns)),
        dev: dev(row.dev)?,
        operation: Operation(Op::Fuse(Op::wire_of_opcode(row.opcode))),
        pid: (row.pid != 0).then_some(row.pid),
        is_at_server: row.at_server != 0,
    })
}

fn task(row: &TaskRow) -> Task {
    let depth = usize::try_from(row.stack_len).unwrap_or(usize::MAX);
    let state = row.task_state;
    Task {
        caller: caller(row.tgid, row.tid, &row.comm),
        since: (row.since_ns != 0).then_some(Mono(row.since_ns)),
        switches: (row.switches != 0).then_some(row.switches),
        state: if state & STOPPED != 0 {
            'T'
        } else if state & UNINTERRUPTIBLE != 0 {
            'D'
        } else if state & INTERRUPTIBLE != 0 {
            'S'
        } else {
            'R'
        },
        is_stopped: state & STOPPED != 0,
        walk_dev: dev(row.walk_dev),
        file_dev: dev(row.file_dev),
        call_dev: dev(row.call_dev),
        cause_dev: dev(row.cause_dev),
        stack: row.stack.iter().copied().take(depth).collect(),
    }
}

/// The requests in flight, by address.
pub fn in_flight(reading: &InFlightReading) -> impl Iterator<Item = (u64, Sent)> {
    reading
        .iter()
        .filter_map(|(address, entry)| Some((*address, sent(entry)?)))
}

fn sent(entry: &InFlight) -> Option<Sent> {
    Some(Sent {
        start: Mono(entry.start_ns),
        unique: (entry.unique != 0).then_some(entry.unique),
        nodeid: entry.nodeid,
        dev: dev(entry.dev)?,
        operation: Operation(Op::Fuse(Op::wire_of_opcode(entry.opcode))),
        caller: caller(entry.tgid, entry.tid, &entry.comm),
        cgroup: (entry.cgroup_id != 0).then_some(entry.cgroup_id),
    })
}

/// The counters since attach.
pub fn totals(reading: &TotalsReading) -> impl Iterator<Item = (Outcome, Total)> {
    reading.iter().map(|(key, value)| total(*key, value))
}

fn total(key: TotalsKey, value: &TotalsValue) -> (Outcome, Total) {
    let outcome = Outcome {
        dev: dev(key.dev),
        operation: Operation(Op::from_wire(key.op)),
        errno: (key.errno != 0).then_some(Errno(key.errno)),
    };
    let total = Total {
        count: value.count,
        sum_ns: value.sum_ns,
        last: Mono(value.last_ns),
        slow: value.slow,
        buckets: value.buckets,
    };
    (outcome, total)
}

fn dev(wire: u32) -> Option<Dev> {
    (wire != 0).then_some(Dev(wire))
}

fn errno(wire: u32) -> Option<Errno> {
    u16::try_from(wire)
        .ok()
        .filter(|number| *number != 0)
        .map(Errno)
}

fn caller(pid: u32, tid: u32, name: &[u8]) -> Caller {
    Caller {
        pid,
        tid,
        comm: comm(name),
    }
}

fn comm(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    text::lossy(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default())
}

#[cfg(test)]
mod tests;

//! Ring buffer records.

use std::time::Duration;

use mount_observer_common::{
    AbortCause, Op, PathRecord, Record, RecordKind, RiskRecord, TraceRecord,
};
use zerocopy::FromBytes;

use super::{Caller, caller, dev, errno};
use crate::{errno::Errno, operation::Operation, superblock::Dev, time::Mono};

/// One ring buffer record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation failed, or took long.
    Ended(Ended),
    /// A server's process exits.
    ServerExit {
        /// The process.
        pid: u32,
        /// The raw wait status.
        status: u32,
        /// Whether the kernel killed it for its memory.
        is_oom: bool,
    },
    /// A FUSE request that was to write something came to nothing.
    WriteFailed {
        /// The request and who asked.
        ended: Ended,
        /// What it was to write.
        write: Write,
    },
    /// Something was written where a mount is missing.
    ShadowWrite(ShadowWrite),
    /// A connection is being aborted.
    Abort {
        /// The connection, where it could be read.
        dev: Option<Dev>,
        /// How, and by whom.
        abort: Abort,
    },
    /// A descriptor of `/dev/fuse` was closed for good.
    Release {
        /// The connection, where it could be read.
        dev: Option<Dev>,
    },
    /// An operation that a trace shows.
    Traced(Traced),
}

/// An operation as a trace shows it, however it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// What ended and how, and who asked.
    pub ended: Ended,
    /// The caller's cgroup v2 id.
    pub cgroup: Option<u64>,
    /// The FUSE node: of a request that has a name, the directory.
    pub nodeid: Option<u64>,
    /// The FUSE request's number, where it got one.
    pub unique: Option<u64>,
    /// The name in the FUSE request, cut to 63 bytes.
    pub name: Option<Vec<u8>>,
}

/// Something was written below a mount point whose mount is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowWrite {
    /// When.
    pub at: Mono,
    /// The place of the mount point in the configuration.
    pub place: u32,
    /// Who.
    pub caller: Caller,
    /// The system call.
    pub operation: Operation,
    /// The path it gave, perhaps cut.
    pub path: Vec<u8>,
    /// Such records that were held back before this one.
    pub suppressed: u32,
}

/// An operation that failed, or took long, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Mono,
    /// The superblock, where the kernel side could tell.
    pub dev: Option<Dev>,
    /// The caller.
    pub caller: Caller,
    /// The operation.
    pub operation: Operation,
    /// From send to end, where both were seen.
    pub latency: Option<Duration>,
    /// The failure; `None` for a success.
    pub errno: Option<Errno>,
    /// The caller's mount namespace, where read.
    pub mnt_ns: Option<u32>,
    /// What the caller asked for, where it was a path.
    pub path: Option<PathArgument>,
}

/// What a FUSE request was to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The FUSE node: of a request that has a name, the directory.
    pub nodeid: Option<u64>,
    /// The first byte concerned.
    pub offset: Option<u64>,
    /// How many bytes.
    pub length: Option<u64>,
    /// The name in the request.
    pub name: Option<Vec<u8>>,
    /// Whether the connection refused it before it was sent.
    pub is_refused: bool,
    /// Such records that were held back before this one.
    pub suppressed: u32,
}

/// The end of a connection, at the function of the kernel that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// When.
    pub at: Mono,
    /// What led to it.
    pub cause: AbortCause,
    /// Who: for the kernel's own timeout, one of its workers.
    pub by: Caller,
}

/// A path as the caller gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathArgument {
    /// Directory descriptor it is relative to.
    pub dfd: i32,
    /// The path, perhaps cut.
    pub path: Vec<u8>,
    /// Whether the kernel's own walk named the superblock, not these words.
    pub is_exact: bool,
    /// The FUSE superblock asked last within the call.
    pub cause_dev: Option<Dev>,
}

/// Reads a ring buffer record; `None` for what is none.
pub fn event(bytes: &[u8]) -> Option<Event> {
    let (record, _) = Record::read_from_prefix(bytes).ok()?;
    let who = || caller(record.tgid, record.tid, &record.comm);
    Some(match RecordKind::from_wire(record.kind)? {
        RecordKind::PathFailed | RecordKind::PathSlow => {
            Event::Ended(ended(&record, Some(path_argument(bytes)?))?)
        }
        RecordKind::RequestFailed | RecordKind::RequestSlow => Event::Ended(ended(&record, None)?),
        RecordKind::ServerExit => Event::ServerExit {
            pid: record.tgid,
            status: record.errno,
            is_oom: record.op != 0,
        },
        RecordKind::WriteFailed => Event::WriteFailed {
            ended: ended(&record, None)?,
            write: write(bytes)?,
        },
        RecordKind::ShadowWrite => Event::ShadowWrite(ShadowWrite {
            at: Mono(record.time_ns),
            place: record.dev,
            caller: who(),
            operation: Operation(Op::from_wire(u16::try_from(record.op).ok()?)),
            path: path_argument(bytes)?.path,
            suppressed: record.suppressed,
        }),
        RecordKind::ConnectionAborted => Event::Abort {
            dev: dev(record.dev),
            abort: Abort {
                at: Mono(record.time_ns),
                cause: AbortCause::from_wire(record.op),
                by: who(),
            },
        },
        RecordKind::DeviceReleased => Event::Release {
            dev: dev(record.dev),
        },
        RecordKind::RequestTraced => Event::Traced(traced_request(bytes)?),
        RecordKind::CallTraced => Event::Traced(Traced {
            ended: ended(&record, Some(path_argument(bytes)?))?,
            cgroup: known(record.cgroup_id),
            nodeid: None,
            unique: None,
            name: None,
        }),
    })
}

fn traced_request(bytes: &[u8]) -> Option<Traced> {
    let (traced, _) = TraceRecord::read_from_prefix(bytes).ok()?;
    let len = usize::try_from(traced.name_len).ok()?;
    Some(Traced {
        ended: ended(&traced.record, None)?,
        cgroup: known(traced.record.cgroup_id),
        nodeid: known(traced.nodeid),
        unique: known(traced.unique),
        name: name(&traced.name, len),
    })
}

/// A number that is 0 when not known.
fn known(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

/// A name in its room; `None` for none, and for a length that is none.
fn name(room: &[u8], len: usize) -> Option<Vec<u8>> {
    (len > 0)
        .then(|| room.get(..len))
        .flatten()
        .map(<[u8]>::to_vec)
}

fn ended(record: &Record, path: Option<PathArgument>) -> Option<Ended> {
    let op = u16::try_from(record.op).ok()?;
    Some(Ended {
        at: Mono(record.time_ns),
        dev: dev(record.dev),
        caller: caller(record.tgid, record.tid, &record.comm),
        operation: Operation(Op::from_wire(op)),
        latency: (record.latency_ns != 0).then_some(Duration::from_nanos(record.latency_ns)),
        errno: errno(record.errno),
        mnt_ns: (record.mnt_ns != 0).then_some(record.mnt_ns),
        path,
    })
}

fn write(bytes: &[u8]) -> Option<Write> {
    let (record, _) = RiskRecord::read_from_prefix(bytes).ok()?;
    let len = usize::try_from(record.name_len).ok()?;
    let in_range = |number: u64| (number != u64::MAX).then_some(number);
    Some(Write {
        nodeid: known(record.nodeid),
        offset: in_range(record.offset),
        length: in_range(record.length),
        name: name(&record.name, len),
        is_refused: record.is_refused != 0,
        suppressed: record.record.suppressed,
    })
}

fn path_argument(bytes: &[u8]) -> Option<PathArgument> {
    let (record, _) = PathRecord::read_from_prefix(bytes).ok()?;
    let len = usize::try_from(record.path_len).ok()?;
    Some(PathArgument {
        dfd: record.dfd,
        path: record.path.get(..len)?.to_vec(),
        is_exact: record.is_exact != 0,
        cause_dev: dev(record.cause_dev),
    })
}

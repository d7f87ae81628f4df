use mount_observer_common::{
    AbortCause, COMM_BYTES, PATH_MAX_BYTES, PathRecord, Record, TRACE_NAME_BYTES, TraceRecord,
};
use zerocopy::IntoBytes;

use super::*;

const RECORD: Record = Record {
    kind: 1,
    op: 15,
    time_ns: 9,
    latency_ns: 7,
    cgroup_id: 0,
    dev: 52,
    errno: 5,
    tgid: 100,
    tid: 101,
    suppressed: 3,
    mnt_ns: 0,
    comm: *b"cat\0garbage\0\0\0\0\0",
};

fn ended(bytes: &[u8]) -> Ended {
    match event(bytes) {
        Some(Event::Ended(ended)) => ended,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_request() {
    let ended = ended(RECORD.as_bytes());
    assert_eq!(ended.operation.to_string(), "READ");
    assert_eq!(ended.errno, Some(Errno::EIO));
    assert_eq!(ended.dev, Some(Dev(52)));
    assert_eq!(ended.caller.comm, "cat");
    assert_eq!(ended.path, None);
}

#[test]
fn an_abort_tells_how_and_by_whom() {
    let record = Record {
        kind: 6,
        op: 2,
        ..RECORD
    };
    let Some(Event::Abort { dev, abort }) = event(record.as_bytes()) else {
        panic!("{record:?}");
    };
    assert_eq!((dev, abort.cause), (Some(Dev(52)), AbortCause::Fusectl));
    assert_eq!(abort.text(), "aborted through fusectl by cat[100]");
    let of_a_newer_kernel = Record { op: 77, ..record };
    let Some(Event::Abort { abort, .. }) = event(of_a_newer_kernel.as_bytes()) else {
        panic!("{record:?}");
    };
    assert_eq!(abort.cause, AbortCause::Unknown);
}

#[test]
fn a_closed_descriptor_may_be_of_no_connection() {
    for (number, dev) in [(52, Some(Dev(52))), (0, None)] {
        let record = Record {
            kind: 7,
            dev: number,
            ..RECORD
        };
        assert_eq!(event(record.as_bytes()), Some(Event::Release { dev }));
    }
}

#[test]
fn a_cut_or_unknown_record_is_refused() {
    let bytes = RECORD.as_bytes();
    for len in 0..bytes.len() {
        assert_eq!(event(&bytes[..len]), None);
    }
    let unknown = Record { kind: 99, ..RECORD };
    assert_eq!(event(unknown.as_bytes()), None);
    let without_its_path = Record { kind: 3, ..RECORD };
    assert_eq!(event(without_its_path.as_bytes()), None);
}

#[test]
fn a_path_longer_than_its_buffer_is_refused() {
    let mut record = PathRecord {
        record: Record { kind: 3, ..RECORD },
        dfd: -100,
        cause_dev: 0,
        is_exact: 0,
        path_len: 4,
        path: [b'/'; PATH_MAX_BYTES],
    };
    let words = ended(record.as_bytes()).path.unwrap();
    assert_eq!(
        (words.path.as_slice(), words.is_exact),
        (&b"////"[..], false)
    );
    assert_eq!(words.cause_dev, None);
    (record.is_exact, record.cause_dev) = (1, 45);
    let walked = ended(record.as_bytes()).path.unwrap();
    assert!(walked.is_exact);
    assert_eq!(walked.cause_dev, Some(Dev(45)));
    record.path_len = 257;
    assert_eq!(event(record.as_bytes()), None);
}

#[test]
fn a_traced_request_says_which_name_in_which_directory() {
    let mut name = [0; TRACE_NAME_BYTES];
    name[..5].copy_from_slice(b"a\nb\xff\x1b");
    let mut record = TraceRecord {
        record: Record {
            kind: 10,
            errno: 0,
            cgroup_id: 77,
            ..RECORD
        },
        nodeid: 3,
        unique: 8,
        pad: 0,
        name_len: 5,
        name,
    };
    let Some(Event::Traced(traced)) = event(record.as_bytes()) else {
        panic!("{record:?}");
    };
    assert_eq!(traced.ended.operation.to_string(), "READ");
    assert_eq!((traced.ended.errno, traced.ended.path), (None, None));
    assert_eq!(
        (traced.cgroup, traced.nodeid, traced.unique),
        (Some(77), Some(3), Some(8))
    );
    assert_eq!(traced.name.as_deref(), Some(&b"a\nb\xff\x1b"[..]));
    (record.name_len, record.nodeid, record.unique) = (65, 0, 0);
    record.record.cgroup_id = 0;
    let Some(Event::Traced(traced)) = event(record.as_bytes()) else {
        panic!("{record:?}");
    };
    assert_eq!((traced.cgroup, traced.nodeid), (None, None));
    assert_eq!((traced.unique, traced.name), (None, None));
    assert_eq!(event(&record.as_bytes()[..100]), None);
}

#[test]
fn a_traced_call_keeps_its_path() {
    let record = PathRecord {
        record: Record {
            kind: 11,
            op: 0x8003,
            errno: 0,
            cgroup_id: 5,
            ..RECORD
        },
        dfd: -100,
        cause_dev: 0,
        is_exact: 1,
        path_len: 4,
        path: [b'/'; PATH_MAX_BYTES],
    };
    let Some(Event::Traced(traced)) = event(record.as_bytes()) else {
        panic!("{record:?}");
    };
    assert_eq!(traced.ended.operation.to_string(), "newfstatat");
    assert_eq!(traced.cgroup, Some(5));
    assert!(traced.ended.path.unwrap().is_exact);
    assert_eq!(traced.name, None);
}

#[test]
fn rows_of_different_kinds_and_a_cut_tail() {
    let queued = QueuedRow {
        kind: 2,
        size: 56,
        request_ptr: 0xffff_0000,
        unique: 8,
        nodeid: 1,
        age_ns: u64::MAX,
        dev: 52,
        opcode: 1,
        pid: 77,
        at_server: 1,
    };
    let holder = HolderRow {
        kind: 1,
        size: 64,
        connection_ptr: 0xffff_1000,
        tgid: 9,
        fd: 3,
        dev: 52,
        connected: 1,
        waiting: 1,
        task_state: 4,
        queued_seen: 1,
        queued_emitted: 1,
        comm: [b'x'; COMM_BYTES],
    };
    let mut bytes = holder.as_bytes().to_vec();
    bytes.extend(queued.as_bytes());
    bytes.extend(99_u32.as_bytes());
    bytes.extend(8_u32.as_bytes());
    let whole = bytes.len();
    bytes.extend(queued.as_bytes());

    let (first, bad) = rows(&bytes[..whole + 20]);
    assert_eq!(
        bad, 2,
        "one row of an unknown kind, and a tail that was cut"
    );
    let [Row::Holder(holder), Row::Queued(queued)] = first.as_slice() else {
        panic!("{first:?}");
    };
    assert!(holder.is_stopped && holder.is_connected && !holder.is_cut);
    assert_eq!(holder.comm, "xxxxxxxxxxxxxxxx");
    assert_eq!(queued.age, None);
    assert!(queued.is_at_server);
    assert_eq!(rows(&bytes).0.len(), 3);
}

//! What holds whatever happens.

use std::collections::BTreeMap;

use mount_observer::{
    alert::{AlertKind, Change, Resolution, Severity},
    alerts::{AlertLife, Condition, Stage},
    config::Config,
    decode,
    input::{BootId, Effect, Input, Scan, SelfInfo},
    mountinfo,
    observer::Observer,
    snapshot::Snapshot,
    text,
    time::{Mono, Now, Wall},
};
use mount_observer_common::{HolderRow, PathRecord, QueuedRow, TaskRow};
use proptest::{collection::vec, prelude::*, sample::select};
use zerocopy::{FromBytes, IntoBytes};

use crate::{script, world::World};

const INFO: SelfInfo = SelfInfo {
    boot: BootId(7),
    is_initial_pid_namespace: true,
    is_single_look: false,
};

/// Bytes a kernel path can contain, the odd ones often.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let odd = select(b" \t\n\\\xff\xc3/#-".to_vec());
    let byte = prop_oneof![odd, any::<u8>().prop_filter("no NUL", |byte| *byte != 0)];
    vec(byte, 0..20).prop_map(|mut path| {
        path.insert(0, b'/');
        path
    })
}

/// As `seq_path` and `mangle` write it.
fn kernel_escaped(bytes: &[u8]) -> Vec<u8> {
    let escape = |&byte: &u8| {
        if b" \t\n\\".contains(&byte) {
            format!("\\{byte:03o}").into_bytes()
        } else {
            vec![byte]
        }
    };
    bytes.iter().flat_map(escape).collect()
}

proptest! {
    #[test]
    fn any_bytes_are_a_mount_table(bytes in vec(any::<u8>(), 0..2_000)) {
        let parsed = mountinfo::parse(&bytes);
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
        prop_assert_eq!(count(parsed.lines.len()) + parsed.bad_lines, count(lines));
    }

    #[test]
    fn a_mount_table_survives_the_kernels_escapes(
        point in path(), root in path(), source in vec(any::<u8>().prop_filter("", |b| *b != 0), 0..9),
        id in any::<u32>(), minor in 0_u32..1 << 20, optional in 0_usize..3,
    ) {
        let mut line = format!("{id} 1 0:{minor} ").into_bytes();
        line.extend(kernel_escaped(&root));
        line.push(b' ');
        line.extend(kernel_escaped(&point));
        line.extend(b" rw");
        line.extend(b" shared:1".repeat(optional));
        line.extend(b" - fuse.x ");
        line.extend(kernel_escaped(&source));
        line.extend(b" rw\n");
        let parsed = mountinfo::parse(&line);
        prop_assert_eq!(parsed.bad_lines, 0);
        let read = &parsed.lines[0];
        prop_assert_eq!((&read.mount_point, &read.root, &read.source), (&point, &root, &source));
    }

    #[test]
    fn any_bytes_are_a_record_or_none(bytes in vec(any::<u8>(), 0..400)) {
        decode::event(&bytes);
    }

    #[test]
    fn any_bytes_are_rows_and_no_row_is_read_twice(bytes in vec(any::<u8>(), 0..2_000)) {
        let (rows, bad) = decode::rows(&bytes);
        prop_assert!((count(rows.len()) + bad) * 8 <= count(bytes.len()) + 7);
    }

    #[test]
    fn escaped_text_is_harmless_and_leads_back(bytes in vec(any::<u8>(), 0..40)) {
        let shown = text::escaped(&bytes);
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert_eq!(unescaped(&shown), bytes);
    }
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap()
}

fn unescaped(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some(c) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix("\\x") {
            bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else if let Some(tail) = rest.strip_prefix("\\\\") {
            bytes.push(b'\\');
            rest = tail;
        } else {
            bytes.extend(c.to_string().bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    bytes
}

/// One thing a kernel may do, as a line of a scenario.
fn happening() -> impl Strategy<Value = String> {
    let dev = select(vec!["0:52", "0:53", "0:54"]);
    let number = 1_u64..6;
    let errno = select(vec!["EIO", "ENOTCONN", "ENOENT", "ECONNABORTED"]);
    let operation = select(vec!["LOOKUP", "READ", "GETATTR", "SETLKW", "newfstatat"]);
    let request = select(vec!["LOOKUP", "READ", "SETLKW"]);
    let how = select(vec!["", "forced-unmount", "timeout", "unknown"]);
    prop_oneof![
        dev.clone()
            .prop_map(|d| format!("mount {d} fuse.x /mnt/{}", &d[2..])),
        dev.clone().prop_map(|d| format!("umount /mnt/{}", &d[2..])),
        dev.clone().prop_map(|d| format!("detach /mnt/{}", &d[2..])),
        dev.clone()
            .prop_map(|d| format!("serve {d} server[{}]", &d[2..])),
        dev.clone()
            .prop_map(|d| format!("exit server[{}] SIGKILL", &d[2..])),
        dev.clone()
            .prop_map(|d| format!("stop server[{}]", &d[2..])),
        dev.clone()
            .prop_map(|d| format!("cont server[{}]", &d[2..])),
        (dev.clone(), how).prop_map(|(d, how)| format!("abort {d} {how}")),
        dev.clone()
            .prop_map(|d| format!("release {d} server[{}]", &d[2..])),
        dev.clone()
            .prop_map(|d| format!("past-abort {d} server[{}]", &d[2..])),
        (dev.clone(), dev.clone())
            .prop_map(|(d, c)| format!("fail {d} /x newfstatat ESTALE caller[7] cause={c}")),
        (dev.clone(), number.clone(), request)
            .prop_map(|(d, n, op)| format!("send {d} #{n} {op} caller[{n}]")),
        number.clone().prop_map(|n| format!("end #{n}")),
        number.clone().prop_map(|n| format!("end #{n} EIO")),
        number.prop_map(|n| format!("kill #{n}")),
        (dev.clone(), operation, errno, 1_u64..9)
            .prop_map(|(d, op, e, n)| format!("count {d} {op} x{n} errno={e} by=caller[7]")),
        dev.prop_map(|d| format!("block {d} task[8] rpc_wait_bit_killable again")),
        Just("lose ring_full 3".to_owned()),
        Just("probe missing fuse_end".to_owned()),
        Just("probe back fuse_end".to_owned()),
        Just("aborts seen".to_owned()),
        Just("probe missing connection_check".to_owned()),
        Just("scans fail".to_owned()),
        Just("scans work".to_owned()),
    ]
}

/// A history: happenings with pauses between them.
fn history() -> impl Strategy<Value = Vec<(u64, String)>> {
    let start = [
        "mount 0:52 fuse.x /mnt/52",
        "serve 0:52 server[52]",
        "mount 0:53 nfs4 /mnt/53",
    ];
    let start = start.map(|line| (0, line.to_owned()));
    vec((0_u64..4_000, happening()), 1..60).prop_map(move |rest| [start.to_vec(), rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_operation_is_on_exactly_one_account(history in history()) {
        let world = script::live(&history);
        let snapshot = world.session.snapshot();
        let counted: u64 = world.totals.values().map(|total| total.count).sum();
        prop_assert_eq!(accounted(&snapshot), counted);
    }

    #[test]
    fn alerts_fire_before_they_resolve_and_one_at_a_time(history in history()) {
        let world = script::live(&history);
        let mut firing: BTreeMap<String, AlertKind> = BTreeMap::new();
        for (superblock, kind, change) in &world.transitions {
            let before = firing.get(superblock).copied();
            match change {
                Change::Firing => {
                    prop_assert!(before.is_none() || before == Some(*kind));
                    firing.insert(superblock.clone(), *kind);
                }
                Change::Resolved { why } => {
                    prop_assert_eq!(before, Some(*kind));
                    firing.remove(superblock);
                    let is_terminal = *kind == AlertKind::Dead && *why == Resolution::Recovered;
                    prop_assert!(!is_terminal, "the dead do not recover");
                }
            }
        }
        for superblock in &world.session.snapshot().superblocks {
            let shown = firing.get(&superblock.id.to_string());
            let is_alerting = superblock.severity.is_some();
            prop_assert_eq!(shown.and_then(|kind| kind.state()), is_alerting.then_some(superblock.state));
        }
    }

    #[test]
    fn the_same_history_gives_the_same_answers(history in history()) {
        prop_assert_eq!(script::live(&history).log, script::live(&history).log);
    }

    #[test]
    fn reading_the_totals_more_often_counts_the_same(history in history()) {
        let rare = script::live(&history);
        let often: Vec<_> = history
            .iter()
            .flat_map(|(pause, line)| [(*pause, line.clone()), (0, "read-totals".to_owned())])
            .collect();
        let often = script::live(&often);
        let operations = |snapshot: &Snapshot| {
            let all = snapshot.superblocks.iter();
            all.map(|s| (s.id, s.operations.clone())).collect::<Vec<_>>()
        };
        let (rare, often) = (rare.session.snapshot(), often.session.snapshot());
        // Where a superblock came or went in between, only the sum is the same.
        prop_assert_eq!(accounted(&rare), accounted(&often));
        let is_table_change = |line: &str| line.contains("mount") || line.contains("detach");
        if !history.iter().skip(3).any(|(_, line)| is_table_change(line)) {
            prop_assert_eq!(operations(&rare), operations(&often));
        }
    }

    #[test]
    fn nothing_dies_of_a_layout_that_does_not_fit(history in history()) {
        let misread = [(0, "layout misread".to_owned())];
        let world = script::live(&[misread.to_vec(), history].concat());
        prop_assert!(!has_died(&world));
    }

    #[test]
    fn an_unmount_is_no_death(pauses in vec(0_u64..5_000, 4), is_seen in any::<bool>()) {
        let mut history = vec![
            (0, "mount 0:52 fuse.x /mnt/52".to_owned()),
            (0, "serve 0:52 server[52]".to_owned()),
        ];
        if is_seen {
            // A table may take as long as it likes where the abort says what it was.
            history.push((0, "aborts seen".to_owned()));
            history.push((0, "tables slow".to_owned()));
        }
        history.extend([
            (pauses[0], "send 0:52 #1 READ cat[7]".to_owned()),
            (pauses[1].min(4_000), "umount /mnt/52".to_owned()),
            (pauses[2], "exit server[52] exit-0".to_owned()),
            (pauses[3], "hand-on".to_owned()),
        ]);
        prop_assert!(!has_died(&script::live(&history)));
    }

    #[test]
    fn a_quick_filesystem_never_alerts(
        pauses in vec((1_u64..1_900, select(vec!["LOOKUP", "READ", "GETATTR"])), 1..40),
    ) {
        let mut history = vec![
            (0, "mount 0:52 fuse.x /mnt/a".to_owned()),
            (0, "serve 0:52 server[99]".to_owned()),
        ];
        for (pause, operation) in pauses {
            history.push((pause, format!("send 0:52 #1 {operation} cat[7]")));
            history.push((pause, "end #1".to_owned()));
        }
        prop_assert_eq!(script::live(&history).transitions, vec![]);
    }

    #[test]
    fn no_input_makes_it_panic_or_grow_without_bound(
        inputs in vec((any::<u64>(), 0_u8..6, vec(any::<u8>(), 0..300)), 0..60),
    ) {
        let mut observer = Observer::new(&Config::default(), INFO).unwrap();
        for (at, kind, bytes) in inputs {
            let now = Now { mono: Mono(at), wall: Wall(at) };
            let scan = Scan { bytes: bytes.clone(), is_complete: at % 2 == 0, begun: Mono(at) };
            let input = match kind {
                0 => Input::Record(bytes),
                1 => Input::Holders(scan),
                2 => Input::Tasks { scan, is_full: at % 3 == 0 },
                3 => Input::Mountinfo { mnt_ns: u32::from(kind), is_own: true, read_at: Mono(at), bytes },
                4 => Input::Namespaces(vec![u32::try_from(at % 7).unwrap()]),
                _ => Input::Tick,
            };
            for effect in observer.step(now, input) {
                prop_assert!(!matches!(effect, Effect::Transition(_)));
            }
        }
    }
}

/// Whether anything was said to be dead.
fn has_died(world: &World) -> bool {
    let mut told = world.transitions.iter();
    told.any(|(_, kind, _)| *kind == AlertKind::Dead)
}

/// A row the decoder believes, about one of a few superblocks, connections, requests and tasks.
fn row() -> impl Strategy<Value = Vec<u8>> {
    (0..3, vec(any::<u8>(), size_of::<TaskRow>())).prop_map(|(kind, bytes)| match kind {
        0 => {
            let (mut row, _) = HolderRow::read_from_prefix(&bytes).unwrap();
            (row.kind, row.size) = (1, 64);
            row.connection_ptr %= 40;
            row.dev %= 4;
            row.connected %= 2;
            row.as_bytes().to_vec()
        }
        1 => {
            let (mut row, _) = QueuedRow::read_from_prefix(&bytes).unwrap();
            (row.kind, row.size) = (2, 56);
            row.dev = 1 + row.dev % 3;
            row.as_bytes().to_vec()
        }
        _ => {
            let (mut row, _) = TaskRow::read_from_prefix(&bytes).unwrap();
            (row.kind, row.size) = (3, 208);
            row.walk_dev %= 4;
            row.file_dev %= 4;
            row.as_bytes().to_vec()
        }
    })
}

/// A record the decoder believes.
fn record() -> impl Strategy<Value = Vec<u8>> {
    (1_u32..8, vec(any::<u8>(), size_of::<PathRecord>())).prop_map(|(kind, bytes)| {
        let mut path = PathRecord::read_from_bytes(&bytes).unwrap();
        path.record.kind = kind;
        path.record.op %= 0x1_0000;
        path.record.dev %= 4;
        path.record.errno %= 200;
        path.path_len %= 256;
        match kind {
            3 | 4 => path.as_bytes().to_vec(),
            _ => path.record.as_bytes().to_vec(),
        }
    })
}

fn is_bounded(snapshot: &Snapshot) -> bool {
    snapshot.superblocks.iter().all(|superblock| {
        let servers = superblock
            .fuse
            .as_ref()
            .map_or(0, |fuse| fuse.servers.len());
        servers <= 16
            && superblock.failures.len() <= 16
            && superblock.requests.len() <= 32
            && superblock.blocked_tasks.len() <= 32
    })
}

proptest! {
    #[test]
    fn believable_input_is_decoded_and_what_it_leaves_is_bounded(
        scans in vec((0_u64..2_000, vec(row(), 0..60), any::<bool>(), any::<bool>()), 1..20),
        records in vec(record(), 0..60),
    ) {
        let mut observer = Observer::new(&Config::default(), INFO).unwrap();
        let table = b"1 1 0:1 / /a rw - fuse.a a rw\n2 1 0:2 / /b rw - fuse.b b rw\n\
            3 1 0:3 / /c rw - nfs4 c rw\n".to_vec();
        let at = |ms: u64| Now { mono: Mono(ms * 1_000_000), wall: Wall(ms * 1_000_000) };
        let read_at = at(0).mono;
        observer.step(at(0), Input::Mountinfo { mnt_ns: 1, is_own: true, read_at, bytes: table });
        for bytes in records {
            prop_assert!(decode::event(&bytes).is_some());
            observer.step(at(0), Input::Record(bytes));
        }
        let mut ms = 0;
        for (pause, rows, is_complete, is_full) in scans {
            let begun = at(ms).mono;
            ms += pause;
            let (read, bad) = decode::rows(&rows.concat());
            prop_assert_eq!((read.len(), bad), (rows.len(), 0));
            let scan = Scan { bytes: rows.concat(), is_complete, begun };
            observer.step(at(ms), Input::Holders(scan.clone()));
            observer.step(at(ms), Input::Tasks { scan, is_full });
            observer.step(at(ms), Input::Tick);
            prop_assert!(is_bounded(&observer.snapshot()));
        }
    }
}

/// Every operation the snapshot accounts for.
fn accounted(snapshot: &Snapshot) -> u64 {
    let on_superblocks = snapshot.superblocks.iter().flat_map(|s| &s.operations);
    let everywhere = on_superblocks.chain(&snapshot.unattributed);
    let events = &snapshot.observer.events;
    let elsewhere = events
        .iter()
        .find(|(name, _)| *name == "operations_elsewhere");
    everywhere.map(|count| count.count).sum::<u64>() + elsewhere.map_or(0, |(_, count)| *count)
}

const SECOND: u64 = 1_000_000_000;

fn condition(kind: AlertKind) -> Condition {
    Condition {
        kind,
        severity: Severity::Warning,
        stage: Stage::Harm,
        since: Mono(0),
        reason: String::new(),
        evidence: Vec::new(),
        victims: Vec::new(),
        victims_total: 0,
    }
}

proptest! {
    #[test]
    fn nothing_flaps_inside_the_hysteresis_band(gaps in vec(1_u64..10, 1..50)) {
        let mut life = AlertLife::default();
        let clear_after = std::time::Duration::from_secs(10);
        let mut second = 0;
        let mut told = 0;
        for gap in gaps {
            let found = Some(condition(AlertKind::Hung));
            told += life.tick(Mono(second * SECOND), found, false, clear_after).len();
            for away in 1..gap {
                let now = Mono((second + away) * SECOND);
                told += life.tick(now, None, false, clear_after).len();
            }
            second += gap;
        }
        prop_assert_eq!(told, 1);
    }
}

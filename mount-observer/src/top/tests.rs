use mount_observer_common::Op;
use ratatui_core::{backend::TestBackend, style::Color, terminal::Terminal};

use super::*;
use crate::{
    alert::State,
    errno::Errno,
    operation::Operation,
    render::fixture,
    snapshot::{OperationCount, Request, Snapshot},
    time::Wall,
};

const SECOND: u64 = 1_000_000_000;

/// As a daemon would tell it.
pub(in crate::top) fn look_of(snapshot: &Snapshot) -> Look {
    let told = serde_json::to_string(snapshot).unwrap();
    serde_json::from_str(&told).unwrap()
}

fn now(second: u64) -> Now {
    let ns = second * SECOND;
    Now {
        mono: Mono(1_000 * SECOND + ns),
        wall: Wall(1_767_323_045 * SECOND + ns),
    }
}

/// The mounts of the fixtures in that second: the hung one waits since second 10, a healthy one works.
fn at(second: u64) -> Snapshot {
    let mut snapshot = fixture::snapshot();
    let taken = now(second);
    (snapshot.taken, snapshot.taken_unix_ns) = (taken.mono, taken.wall);
    snapshot.observer.events = vec![("record", second)];
    for superblock in &mut snapshot.superblocks {
        if superblock.state == State::Ok && superblock.fuse.is_some() {
            superblock.operations[0].count = 1_000 + second * 1_234;
            superblock.operations.push(OperationCount {
                operation: Operation(Op::Fuse(15)),
                errno: Some(Errno::EIO),
                count: second * 2,
            });
            superblock.latency[0].buckets[6] = second * 1_000;
            superblock.latency[0].buckets[9] = second * 200;
            superblock.latency[0].buckets[13] = second * 5;
        } else if superblock.state == State::Hung {
            let waits = second.saturating_sub(10) * SECOND;
            superblock.oldest_request_age_ns = (waits > 0).then_some(waits);
            superblock.latency[0].buckets[6] = second.min(10) * 50;
            superblock.requests = vec![request(waits)];
            let stack = [
                "request_wait_answer",
                "fuse_simple_request",
                "fuse_lookup_name",
            ];
            let task = &mut superblock.blocked_tasks[0];
            task.stack = stack.map(str::to_owned).into();
            task.age_ns = Some(waits);
        }
    }
    snapshot
}

fn request(age_ns: u64) -> Request {
    Request {
        operation: Operation(Op::Fuse(1)),
        unique: Some(7),
        nodeid: 1,
        age_ns: Some(age_ns),
        pid: Some(123),
        tid: Some(123),
        comm: Some("stat".to_owned()),
        is_at_server: Some(true),
        source: "probe",
    }
}

/// What the journal lists, of a hung mount and of another.
fn incidents() -> Vec<Incident> {
    let incident = |kind: &str, began: u64, ended: Option<u64>| Incident {
        kind: kind.to_owned(),
        severity: "critical".to_owned(),
        device_number: Some("0:53".to_owned()),
        mount_point: "/mnt/hung".to_owned(),
        started_unix_ns: Wall(began * SECOND),
        ended_unix_ns: ended.map(|ended| Wall(ended * SECOND)),
        lasted_ns: ended.map(|ended| (ended - began) * SECOND),
        ended_why: ended.map(|_| "recovered".to_owned()),
        is_drill: false,
        reason: "requests wait".to_owned(),
    };
    vec![
        incident("hung", 1_767_323_055, None),
        incident("dead", 1_767_236_645, Some(1_767_236_705)),
    ]
}

/// After 40 s.
fn told() -> Top {
    let mut top = Top::new("daemon at http://127.0.0.1:9967".to_owned(), now(0));
    for second in 0..=40 {
        top.take(now(second), News::Look(Box::new(look_of(&at(second)))));
    }
    top.take(now(40), News::Incidents(Ok(incidents())));
    top
}

fn press(top: &mut Top, keys: &str) {
    for letter in keys.chars() {
        let key = match letter {
            '\n' => Key::Enter,
            '\u{1b}' => Key::Esc,
            '\t' => Key::Tab,
            letter => Key::Char(letter),
        };
        assert_eq!(top.press(now(40), key), Step::Stay, "{letter:?}");
    }
}

fn terminal(top: &Top, second: u64, columns: u16, rows: u16, colours: bool) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    let draw = terminal.draw(|frame| screen::draw(top, now(second), colours, frame.buffer_mut()));
    draw.unwrap();
    terminal.backend().clone()
}

fn shown(top: &Top, second: u64, columns: u16, rows: u16) -> String {
    terminal(top, second, columns, rows, false).to_string()
}

#[test]
fn the_list_at_two_sizes() {
    let top = told();
    insta::assert_snapshot!("list_80x24", shown(&top, 40, 80, 24));
    insta::assert_snapshot!("list_200x50", shown(&top, 40, 200, 50));
}

#[test]
fn an_opened_mount_at_two_sizes() {
    let mut top = told();
    press(&mut top, "/hung\n\n");
    insta::assert_snapshot!("hung_requests_80x24", shown(&top, 40, 80, 24));
    press(&mut top, "2");
    insta::assert_snapshot!("hung_blocked_80x24", shown(&top, 40, 80, 24));
    press(&mut top, "5");
    insta::assert_snapshot!("hung_alerts_80x24", shown(&top, 40, 80, 24));
    press(&mut top, "4");
    insta::assert_snapshot!("hung_latency_80x24", shown(&top, 40, 80, 24));
    insta::assert_snapshot!("hung_200x50", shown(&top, 40, 200, 50));
}

#[test]
fn failures_and_latencies_of_one_that_works() {
    let mut top = told();
    press(&mut top, "/mnt/ok\n\n3");
    insta::assert_snapshot!("ok_errors_80x24", shown(&top, 40, 80, 24));
    press(&mut top, "4");
    insta::assert_snapshot!("ok_latency_80x24", shown(&top, 40, 80, 24));
}

#[test]
fn help_and_the_observer_fit() {
    let mut top = told();
    press(&mut top, "?");
    insta::assert_snapshot!("help_80x24", shown(&top, 40, 80, 24));
    press(&mut top, "\u{1b}o");
    insta::assert_snapshot!("observer_80x24", shown(&top, 40, 80, 24));
}

#[test]
fn an_old_snapshot_is_never_shown_as_health() {
    let mut top = Top::new("daemon at http://127.0.0.1:9967".to_owned(), now(0));
    assert!(shown(&top, 1, 80, 24).contains("Waiting for the first snapshot"));
    assert!(shown(&top, 9, 80, 24).contains("NOTHING YET after 9.0s"));
    let healthy = fixture::healthy_snapshot();
    top.take(now(10), News::Look(Box::new(look_of(&healthy))));
    assert!(!shown(&top, 11, 80, 24).contains("OLD:"));
    top.take(now(12), News::Trouble("connection refused".to_owned()));
    let old = shown(&top, 22, 80, 24);
    assert!(
        old.contains("OLD: this is 03:04:05; nothing new for 12.0s: connection refused"),
        "{old}"
    );
    assert!(old.contains("ok?"), "{old}");
    // The same again is no news, though it answers.
    top.take(now(22), News::Look(Box::new(look_of(&healthy))));
    let old = shown(&top, 22, 80, 24);
    assert!(old.contains("makes no progress"), "{old}");
    let tiny = shown(&top, 22, 50, 10);
    assert!(
        tiny.contains("OLD: this is") && tiny.contains("2 ok"),
        "{tiny}"
    );
}

#[test]
fn a_pause_holds_the_screen_and_loses_nothing() {
    let mut top = told();
    press(&mut top, "p");
    for second in 41..=50 {
        top.take(now(second), News::Look(Box::new(look_of(&at(second)))));
    }
    let held = shown(&top, 50, 80, 24);
    assert!(
        held.contains("PAUSED 10.0s ago: this is 03:04:45, not now"),
        "{held}"
    );
    assert!(held.contains("30.0s") && held.contains("hung?"), "{held}");
    press(&mut top, "p");
    let live = shown(&top, 50, 80, 24);
    assert!(live.contains("40.0s") && !live.contains("PAUSED"), "{live}");
}

#[test]
fn a_small_screen_says_so_and_what_is_worst() {
    let top = told();
    for (columns, rows) in [(79, 24), (80, 23), (40, 5), (10, 3), (1, 1)] {
        let small = shown(&top, 40, columns, rows);
        let said = format!("{columns}x{rows} is");
        assert!(columns < 20 || small.contains(&said), "{small}");
        assert!(columns < 20 || small.contains("1 dead"), "{small}");
    }
}

#[test]
fn only_colours_differ_between_a_terminal_with_and_without() {
    let top = told();
    let plain = terminal(&top, 40, 80, 24, false);
    let coloured = terminal(&top, 40, 80, 24, true);
    assert_eq!(plain.to_string(), coloured.to_string());
    let has = |screen: &TestBackend, colour| {
        let mut cells = screen.buffer().content().iter();
        cells.any(|cell| cell.fg == colour)
    };
    for colour in [Color::Red, Color::Magenta, Color::Green] {
        assert!(has(&coloured, colour) && !has(&plain, colour), "{colour}");
    }
}

#[test]
fn a_hostile_name_stays_in_its_cell() {
    let mut snapshot = fixture::healthy_snapshot();
    let evil = "/m\u{202e}\n\u{1b}[2J\u{1b}]0;x\u{7}e\u{301}\u{1f468}\u{200d}\u{1f469}\u{6f22}";
    let superblock = &mut snapshot.superblocks[0];
    superblock.mountpoint = evil.repeat(9);
    superblock.fstype = evil.to_owned();
    superblock.reason = evil.to_owned();
    superblock.device = evil.to_owned();
    superblock.state = State::Unknown;
    superblock.fuse.as_mut().unwrap().servers[0].comm = evil.to_owned();
    let mut top = Top::new(evil.to_owned(), now(0));
    top.take(now(0), News::Look(Box::new(look_of(&snapshot))));
    top.take(now(0), News::Incidents(Err(evil.to_owned())));
    for keys in ["", "\n", "5", "\u{1b}o"] {
        press(&mut top, keys);
        for (columns, rows) in [(80, 24), (200, 50), (60, 10)] {
            let screen = terminal(&top, 0, columns, rows, true);
            for cell in screen.buffer().content() {
                let mut letters = cell.symbol().chars();
                let letter = letters.next().unwrap_or(' ');
                let is_tame =
                    letter.is_ascii_graphic() || letter == ' ' || letter.is_alphanumeric();
                assert!(is_tame && letters.next().is_none(), "{:?}", cell.symbol());
            }
        }
    }
}

#[test]
fn keys_move_sort_filter_and_end() {
    let mut top = told();
    let first = |top: &Top| {
        list::rows(top)[top.selected_row(&list::rows(top))]
            .id
            .clone()
    };
    assert_eq!(first(&top), "0:52");
    press(&mut top, "jj");
    assert_eq!(first(&top), "0:53");
    press(&mut top, "G");
    let last = first(&top);
    press(&mut top, "k");
    assert_ne!(first(&top), last);
    press(&mut top, "s");
    assert_eq!(first(&top), "0:54");
    press(&mut top, "/HUNG");
    assert!(shown(&top, 40, 80, 24).contains("filter: HUNG_"));
    press(&mut top, "\n\n");
    assert_eq!(top.page, Page::Mount("0:53".to_owned(), Panel::Requests));
    press(&mut top, "\t\t");
    assert_eq!(top.page, Page::Mount("0:53".to_owned(), Panel::Errors));
    assert_eq!(top.press(now(40), Key::BackTab), Step::Stay);
    assert_eq!(top.page, Page::Mount("0:53".to_owned(), Panel::Blocked));
    press(&mut top, "\u{1b}\u{1b}");
    assert_eq!(list::rows(&top).len(), 6);
    press(&mut top, "/q");
    assert_eq!(top.press(now(40), Key::Interrupt), Step::Quit);
    press(&mut top, "\u{1b}");
    assert_eq!(top.press(now(40), Key::Char('q')), Step::Quit);
}

#[test]
fn the_selection_stays_with_its_mount_and_a_mount_that_goes_is_said_to_be_gone() {
    let mut top = told();
    press(&mut top, "jj\n");
    let mut snapshot = at(41);
    snapshot
        .superblocks
        .retain(|superblock| superblock.state != State::Hung);
    top.take(now(41), News::Look(Box::new(look_of(&snapshot))));
    let gone = shown(&top, 41, 80, 24);
    assert!(gone.contains("0:53 is not there any more"), "{gone}");
}

#[test]
fn a_daemon_that_tells_less_is_understood() {
    let mut told = serde_json::to_value(at(1)).unwrap();
    told.as_object_mut().unwrap().remove("taken_monotonic_ns");
    for superblock in told["superblocks"].as_array_mut().unwrap() {
        superblock.as_object_mut().unwrap().remove("latency");
    }
    let look: Look = serde_json::from_value(told).unwrap();
    let mut top = Top::new("an older daemon".to_owned(), now(1));
    top.take(now(1), News::Look(Box::new(look)));
    press(&mut top, "\n4");
    let screen = shown(&top, 1, 80, 24);
    assert!(screen.contains("does not tell latencies"), "{screen}");
}

#[test]
fn no_size_and_no_keys_break_the_screen() {
    let mut top = told();
    let keys = [
        "", "jjjj", "\n", "1", "2", "3", "4", "5", "\u{1b}", "?", "o", "G", "s", "p",
    ];
    for keys in keys {
        press(&mut top, keys);
        for columns in [1, 40, 80, 150, 201] {
            for rows in [1, 24, 50] {
                shown(&top, 40, columns, rows);
            }
        }
    }
}

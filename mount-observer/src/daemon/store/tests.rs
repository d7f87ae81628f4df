//! What the journal promises, against real files.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

use rusqlite::Connection;

use super::*;
use crate::{
    daemon::clock,
    incident::{End, EndReason, Summary},
    recovery::Outcome,
    render::fixture::incident,
    superblock::Dev,
    time::Wall,
};

const HOUR: u64 = 3_600_000_000_000;
const PATIENCE: Duration = Duration::from_mins(1);
const LIMITS: Limits = Limits {
    age_max: Duration::from_hours(90 * 24),
    bytes_max: 256 << 20,
};

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("journal-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn database(&self) -> Database {
        Database::open(&self.0).unwrap()
    }

    fn list(&self) -> Vec<Summary> {
        let reader = Reader::open(&self.0).unwrap();
        reader.list(&Filter::default()).unwrap()
    }

    /// A journal whose thread writes here.
    fn journal(&self) -> Journal {
        let directory = self.0.clone();
        Journal::at(Arc::new(move || Ok(Some(directory.clone()))), true, LIMITS)
    }

    /// Until the thread of a journal that was told to end has ended, as with its process.
    fn wait_until_free(&self) {
        while lock::Lock::take(&self.0).is_err() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn ended(mut incident: Incident, at: u64) -> Incident {
    incident.ended = Some(End {
        at_unix_ns: Wall(at),
        duration_ns: None,
        why: EndReason::Recovered,
    });
    incident
}

#[test]
fn what_is_kept_is_found_again_in_its_latest_form() {
    let place = Place::new("kept");
    let (one, other) = (
        incident(Wall(HOUR), Dev(45)),
        incident(Wall(2 * HOUR), Dev(46)),
    );
    let mut database = place.database();
    assert_eq!(database.keep([&one, &other].into_iter()).unwrap(), 0);
    let over = ended(one, 3 * HOUR);
    assert_eq!(database.keep([&over].into_iter()).unwrap(), 0);
    assert_eq!(
        database.open_incidents().unwrap(),
        std::slice::from_ref(&other)
    );

    let reader = Reader::open(&place.0).unwrap();
    assert_eq!(reader.find(over.id.as_str()).unwrap(), over);
    assert_eq!(reader.find("19700101T02").unwrap(), other);
    let said = reader.find("1970").unwrap_err().to_string();
    assert_eq!(
        said,
        "several incidents' ids begin with \"1970\": 19700101T010000.000-0.45, 19700101T020000.000-0.46"
    );
    assert!(reader.find("2").is_err());
    let ids = |filter: &Filter| {
        let found = reader.list(filter).unwrap();
        found.into_iter().map(|found| found.id).collect::<Vec<_>>()
    };
    let all = [other.id.to_string(), over.id.to_string()];
    assert_eq!(ids(&Filter::default()), all);
    let open = Filter {
        is_open: true,
        ..Filter::default()
    };
    assert_eq!(ids(&open), all[..1]);
    let since = |since| Filter {
        since: Some(Wall(since)),
        ..Filter::default()
    };
    assert_eq!(ids(&since(3 * HOUR)), all);
    assert_eq!(ids(&since(3 * HOUR + 1)), all[..1]);
    let latest = Filter {
        limit: Some(1),
        ..Filter::default()
    };
    assert_eq!(ids(&latest), all[..1]);
}

#[test]
fn hostile_names_come_back_as_they_were_and_are_escaped_in_lists() {
    let place = Place::new("hostile");
    let mut hostile = incident(Wall(HOUR), Dev(45));
    let name = format!(
        "/mnt/'; DROP TABLE incident; --\n\u{1b}[2J\u{0}\u{202e}\"{}",
        "x".repeat(255)
    );
    hostile.subject.mount_point.clone_from(&name);
    hostile.subject.source = "a\tb\u{fffd}".to_owned();
    hostile.reason = "one\nline".to_owned();
    place.database().keep([&hostile].into_iter()).unwrap();
    let reader = Reader::open(&place.0).unwrap();
    assert_eq!(reader.find(hostile.id.as_str()).unwrap(), hostile);
    let listed = &place.list()[0];
    assert!(
        listed
            .mount_point
            .starts_with("/mnt/'; DROP TABLE incident; --\\n\\x1b[2J\\x00\\u{202e}\"xx")
    );
    assert_eq!(
        (listed.source.as_str(), listed.reason.as_str()),
        ("a\\tb\u{fffd}", "one\\nline")
    );
}

/// Or it would take over what the first has open, and end it.
#[test]
fn a_second_daemon_keeps_nothing_until_the_first_is_gone() {
    let place = Place::new("held");
    let first = place.journal();
    assert_eq!(first.remembered(PATIENCE), Some(Remembered::default()));
    let (one, other) = (
        incident(Wall(HOUR), Dev(45)),
        incident(Wall(2 * HOUR), Dev(46)),
    );
    first.keep(one.clone());
    while first.condition().written == 0 {
        std::thread::yield_now();
    }
    let second = place.journal();
    second.keep(other.clone());
    assert_eq!(second.remembered(PATIENCE), None);
    let trouble = second.condition().trouble.unwrap();
    assert!(
        trouble.starts_with("another daemon keeps its incident journal there ("),
        "{trouble}"
    );
    assert_eq!(place.list().len(), 1);

    assert!(first.end(PATIENCE));
    while second.condition().trouble.is_some() || second.condition().waiting > 0 {
        std::thread::yield_now();
    }
    let remembered = second.remembered(PATIENCE).unwrap();
    assert_eq!(remembered.incidents, [one]);
    assert_eq!(place.list().len(), 2);
}

/// Byte for byte, and with nothing beside it.
#[test]
fn a_newer_journal_is_refused_and_left_untouched() {
    let place = Place::new("newer");
    drop(place.database());
    let connection = Connection::open(place.file()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = fs::read(place.file()).unwrap();
    for opened in [
        Database::open(&place.0).map(drop),
        Reader::open(&place.0).map(drop),
    ] {
        let said = opened.unwrap_err().to_string();
        assert!(
            said.contains(
                "is of a later version (schema 99, this program knows 1) and is left untouched"
            ),
            "{said}"
        );
    }
    assert_eq!(fs::read(place.file()).unwrap(), before);
}

#[test]
fn a_damaged_journal_is_moved_aside_and_a_new_one_begins() {
    let place = Place::new("damaged");
    fs::write(
        place.file(),
        "not a database at all, and long enough to be one".repeat(100),
    )
    .unwrap();
    let journal = place.journal();
    assert_eq!(journal.remembered(PATIENCE), Some(Remembered::default()));
    let kept = incident(Wall(HOUR), Dev(45));
    journal.keep(kept.clone());
    assert!(journal.end(PATIENCE), "{:?}", journal.condition());
    assert_eq!(place.list()[0].id, kept.id.as_str());
    #[expect(clippy::disallowed_methods, reason = "a directory of this test")]
    let names = fs::read_dir(&place.0).unwrap();
    let aside = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("incidents.db.corrupt-"));
    assert_eq!(aside.count(), 1);
}

/// The caps must hold across restarts, a recovery that was cut short included.
#[test]
fn recoveries_are_remembered_and_shown_with_their_incident() {
    let place = Place::new("runs");
    let journal = place.journal();
    let kept = incident(Wall(HOUR), Dev(45));
    let begun = RecoveryRun {
        id: format!("{}/1", kept.id),
        incident: kept.id.clone(),
        mount_point: "/mnt/a".to_owned(),
        started_unix_ns: Wall(clock::now().wall.0 - HOUR),
        ended_unix_ns: None,
        outcome: None,
        steps: Vec::new(),
    };
    let ended = RecoveryRun {
        outcome: Some(Outcome::Ok),
        ended_unix_ns: Some(clock::now().wall),
        ..begun.clone()
    };
    journal.keep(kept.clone());
    journal.keep_run(begun);
    journal.keep_run(ended.clone());
    let cut_short = RecoveryRun {
        id: format!("{}/2", kept.id),
        outcome: None,
        ended_unix_ns: None,
        ..ended.clone()
    };
    journal.keep_run(cut_short.clone());
    assert!(journal.end(PATIENCE), "{:?}", journal.condition());
    place.wait_until_free();

    let found = Reader::open(&place.0).unwrap().find(kept.id.as_str());
    let expected = [ended, cut_short];
    assert_eq!(found.unwrap().recovery, expected);
    let remembered = place.journal().remembered(PATIENCE).unwrap();
    assert_eq!(remembered.runs, expected);
}

#[test]
fn a_page_that_was_overwritten_is_found_when_it_is_opened() {
    let place = Place::new("overwritten");
    let mut database = place.database();
    let many: Vec<Incident> = (0..200)
        .map(|n| incident(Wall(n * HOUR), Dev(45)))
        .collect();
    database.keep(many.iter()).unwrap();
    drop(database);
    let mut bytes = fs::read(place.file()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(place.file(), bytes).unwrap();
    let error = Database::open(&place.0).unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
}

/// The latest form of what goes on waits, however often it changes.
#[test]
fn what_cannot_be_written_waits_and_is_written_later() {
    let place = Place::new("locked");
    drop(place.database());
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let journal = place.journal();
    let mut kept = incident(Wall(HOUR), Dev(45));
    for returns in 0..10 {
        kept.returns = returns;
        journal.keep(kept.clone());
    }
    while journal.condition().errors == 0 {
        std::thread::yield_now();
    }
    assert!(!journal.end(Duration::ZERO));
    let condition = journal.condition();
    assert_eq!((condition.waiting, condition.refused), (1, 0));
    assert_eq!(journal.in_memory(), [Arc::new(kept.clone())]);

    other.execute_batch("ROLLBACK").unwrap();
    place.wait_until_free();
    let journal = place.journal();
    journal.keep(kept.clone());
    assert!(journal.end(PATIENCE));
    assert_eq!(place.list()[0].returns, 9);
}

#[test]
fn a_full_disk_is_told_and_nothing_that_was_kept_is_lost() {
    let place = Place::new("full");
    let mut database = place.database();
    let first = incident(Wall(HOUR), Dev(45));
    database.keep([&first].into_iter()).unwrap();
    database.limit_pages();
    let many: Vec<Incident> = (2..1000)
        .map(|n| incident(Wall(n * HOUR), Dev(46)))
        .collect();
    let error = database.keep(many.iter()).unwrap_err();
    let said = crate::daemon::run::chain(&error);
    assert!(said.contains("the disk is full; free some space"), "{said}");
    assert!(!error.is_corrupt());
    drop(database);
    // None of them rather than some.
    assert_eq!(place.database().open_incidents().unwrap(), [first]);
}

#[test]
fn a_queue_that_is_full_gives_up_the_oldest_that_ended_and_counts_it() {
    let queue = Queue::new(true);
    let all = u64::try_from(queue::WAITING_MAX).unwrap();
    for n in 0..all {
        let incident = incident(Wall(n * HOUR), Dev(45));
        let is_over = n == 7 || n == 9;
        queue.keep(if is_over {
            ended(incident, n * HOUR + 1)
        } else {
            incident
        });
    }
    let latest = incident(Wall(all * HOUR), Dev(45));
    queue.keep(latest.clone());
    let condition = queue.condition();
    assert_eq!((condition.waiting, condition.refused), (all, 1));
    let ids: Vec<_> = queue
        .in_memory()
        .iter()
        .map(|kept| kept.started_unix_ns.0 / HOUR)
        .collect();
    assert!(ids.contains(&all) && ids.contains(&9) && !ids.contains(&7));
}

#[test]
fn what_goes_on_is_never_removed() {
    let place = Place::new("pruned");
    let mut database = place.database();
    let mut all: Vec<Incident> = (0..100)
        .map(|n| ended(incident(Wall(n * HOUR), Dev(45)), (n + 1) * HOUR))
        .collect();
    for incident in &mut all {
        incident.advice = "x".repeat(20_000);
    }
    all[3].ended = None;
    database.keep(all.iter()).unwrap();
    let limits = Limits {
        age_max: Duration::from_hours(50),
        ..LIMITS
    };
    assert_eq!(database.prune(Wall(100 * HOUR), limits).unwrap(), 48);
    assert_eq!(place.list().len(), 52);
    let limits = Limits {
        bytes_max: 1,
        ..LIMITS
    };
    assert_eq!(database.prune(Wall(100 * HOUR), limits).unwrap(), 51);
    assert_eq!(place.list()[0].id, all[3].id.as_str());
    // A clock before the epoch of what is kept removes nothing.
    assert_eq!(database.prune(Wall(0), LIMITS).unwrap(), 0);
}

#[test]
fn ten_thousand_are_listed_without_reading_them() {
    let place = Place::new("many");
    let mut database = place.database();
    let many = |n: u64| {
        let mut incident = ended(incident(Wall(n * HOUR), Dev(45)), n * HOUR + 1);
        incident.evidence = vec!["x".repeat(200); 40];
        incident
    };
    let all: Vec<Incident> = (0..10_000).map(many).collect();
    for batch in all.chunks(64) {
        database.keep(batch.iter()).unwrap();
    }
    let begun = clock::thread_cpu();
    let listed = place.list();
    let took = clock::thread_cpu().since(begun);
    println!("FIGURE: 10,000 incidents are opened and listed in {took:?} of processor time");
    assert_eq!(listed.len(), 10_000);
    drop(database);
    let begun = clock::thread_cpu();
    drop(place.database());
    let took = clock::thread_cpu().since(begun);
    println!("FIGURE: a journal of them is opened and checked in {took:?} of processor time");
}

/// Set for the child that is to be killed: where it writes.
const CHILD: &str = "JOURNAL_TEST_CHILD";

/// No test by itself: what [`a_writer_that_is_killed_leaves_whole_incidents`] starts and kills.
#[test]
fn writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let mut database = Database::open(Path::new(&directory)).unwrap();
    for round in 0_u32.. {
        let all: Vec<Incident> = (0..8)
            .map(|n| {
                let mut incident = incident(Wall(n * HOUR), Dev(45));
                incident.returns = round;
                incident.advice = round.to_string().repeat(3_000);
                incident
            })
            .collect();
        database.keep(all.iter()).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_leaves_whole_incidents() {
    let place = Place::new("killed");
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon::store::tests::writes_until_it_is_killed"])
            .env(CHILD, &place.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let wanted = round * 7 + 1;
        let has_come_far = || {
            let reader = Reader::open(&place.0).ok()?;
            let first = reader.list(&Filter::default()).ok()?.pop()?;
            (first.returns >= wanted).then_some(())
        };
        while has_come_far().is_none() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        // Opened as the next daemon does: checked from end to end.
        let all = place.database().open_incidents().unwrap();
        assert_eq!(all.len(), 8);
        let forms: std::collections::BTreeSet<u32> = all.iter().map(|i| i.returns).collect();
        assert_eq!(
            forms.len(),
            1,
            "a transaction is there as a whole: {forms:?}"
        );
        assert!(
            all.iter()
                .all(|i| i.advice == i.returns.to_string().repeat(3_000))
        );
        fs::remove_dir_all(&place.0).unwrap();
    }
}

/// As whoever may read the file and write nothing beside it does.
#[test]
fn a_journal_that_nobody_writes_is_read_without_its_log() {
    let place = Place::new("ro dir%3f");
    let kept = incident(Wall(HOUR), Dev(45));
    let mut database = place.database();
    database.keep([&kept].into_iter()).unwrap();
    // Something waits in the log: without it the file is not all there is.
    assert!(Reader::without_log(&place.file()).is_none());
    drop(database);
    let reader = Reader::without_log(&place.file()).unwrap().unwrap();
    assert_eq!(reader.find(kept.id.as_str()).unwrap(), kept);
    let nothing = Reader::without_log(&place.0.join("nothing")).unwrap();
    assert!(matches!(nothing, Err(StoreError::Absent { .. })));
}

use std::sync::mpsc::sync_channel;

use super::{flight::Flight, *};
use crate::{
    daemon::mountinfo::OwnTable,
    input::{BootId, SelfInfo},
    superblock::Dev,
    time::{Mono, Wall},
};

fn at(second: u64) -> Now {
    Now {
        mono: Mono(second * 1_000_000_000),
        wall: Wall(second * 1_000_000_000),
    }
}

fn incident(second: u64, minor: u32) -> IncidentId {
    IncidentId::of_superblock(at(second).wall, Dev(minor))
}

/// A recorder whose thread does not come to its work.
fn stalled(queue: usize) -> (Recorder, Receiver<Message>) {
    let (sender, messages) = sync_channel(queue);
    let recorder = Recorder {
        sender,
        shared: Arc::default(),
        path: None,
        batch: Vec::new(),
        batch_bytes: 0,
        now: Now::default(),
        lost: 0,
        unsaid: 0,
    };
    (recorder, messages)
}

fn taken(messages: &Receiver<Message>) -> Vec<(Now, Said)> {
    match messages.try_recv() {
        Ok(Message::Said(batch, _)) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_finds_the_queue_full_is_counted_and_said_in_the_next_batch() {
    let (mut recorder, messages) = stalled(1);
    for second in 1..=3 {
        recorder.note(at(second), &Input::Namespaces(vec![1]));
        recorder.note(at(second), &Input::Tick);
    }
    assert_eq!(recorder.lost(), 4);
    assert_eq!(taken(&messages).len(), 2);
    recorder.note(at(4), &Input::Tick);
    let batch = taken(&messages);
    assert!(
        matches!(
            batch.as_slice(),
            [(_, Said::Lost(4)), (_, Said::Input(Input::Tick))]
        ),
        "{batch:?}"
    );
    recorder.note(at(5), &Input::Tick);
    assert_eq!(taken(&messages).len(), 1, "said once");
}

#[test]
fn what_waits_for_a_disk_is_bounded_in_bytes() {
    let (mut recorder, messages) = stalled(QUEUE_MAX);
    let bytes = 4 * BATCH_BYTES;
    let record = Input::Record(vec![0; bytes]);
    for second in 0..50 {
        recorder.note(at(second), &record);
    }
    let waiting = messages.try_iter().count();
    assert_eq!(waiting, QUEUED_BYTES_MAX / bytes);
    assert_eq!(recorder.lost(), 50 - u64::try_from(waiting).unwrap());
}

#[test]
fn alerts_of_one_moment_share_a_recording_and_too_many_moments_are_told() {
    let mut flight = flight_of(&Config::default());
    let tick = Said::Input(Input::Tick);
    flight.push(at(10), &tick);
    for minor in 0..50 {
        flight.want(incident(10, minor)).unwrap();
    }
    let mut refused = 0;
    for second in 0..20 {
        flight.push(at(20 + 2 * second), &tick);
        refused += u32::from(flight.want(incident(20 + second, 99)).is_err());
    }
    // The first moment was one.
    assert_eq!(refused, 20 - 15);
}

fn flight_of(config: &Config) -> Flight {
    let info = SelfInfo {
        boot: BootId(1),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    let header = Header::new(at(1), "0", info, config);
    let options = FlightOptions::of(config, &OwnTable::open().unwrap()).unwrap();
    Flight::new(header, options)
}

/// A flight recorder that keeps two recordings below a directory.
fn flight(storage: &tempfile::TempDir) -> Flight {
    let mut config = Config::default();
    config.storage.path = storage.path().display().to_string();
    config.record.keep_files = 2;
    flight_of(&config)
}

/// Has something happen, and the alerts of that moment saved.
fn save(flight: &mut Flight, second: u64, incidents: &[IncidentId]) {
    flight.push(at(second), &Said::Input(Input::Tick));
    for incident in incidents {
        flight.want(incident.clone()).unwrap();
    }
    flight.save_due(true).unwrap().unwrap();
}

/// The recordings by name, with how long they are.
#[expect(clippy::disallowed_methods, reason = "a directory of this test")]
fn kept(storage: &tempfile::TempDir) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(storage.path().join("recordings")).unwrap();
    let mut kept: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, entry.metadata().unwrap().len())
        })
        .collect();
    kept.sort();
    kept
}

#[test]
fn an_incident_that_goes_on_after_a_restart_keeps_the_recording_of_its_beginning() {
    let storage = tempfile::tempdir().unwrap();
    let dead = incident(10, 1);
    let mut before = flight(&storage);
    for second in 1..200 {
        before.push(at(second), &Said::Input(Input::Namespaces(vec![1, 2, 3])));
    }
    save(&mut before, 200, std::slice::from_ref(&dead));
    let first = kept(&storage);
    assert_eq!(first.len(), 1);
    // The next process knows nothing of it; another alert of the same moment has none yet.
    let mut after = flight(&storage);
    save(&mut after, 300, &[dead, incident(300, 2)]);
    let second = kept(&storage);
    assert_eq!((second.len(), &second[0]), (2, &first[0]));
}

#[test]
fn a_recording_under_many_names_counts_once_and_goes_as_a_whole() {
    let storage = tempfile::tempdir().unwrap();
    let mut flight = flight(&storage);
    save(&mut flight, 10, &[incident(10, 1)]);
    let of_one_server: Vec<_> = (0..30).map(|minor| incident(20, minor)).collect();
    save(&mut flight, 20, &of_one_server);
    assert_eq!(kept(&storage).len(), 31, "two recordings");
    save(&mut flight, 30, &[incident(30, 1)]);
    assert_eq!(kept(&storage).len(), 31, "the oldest is gone");
    save(&mut flight, 40, &[incident(40, 1)]);
    assert_eq!(kept(&storage).len(), 2, "and the next, with all its names");
}

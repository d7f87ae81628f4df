mod inputs;

use proptest::{collection::vec, prelude::*};

use self::inputs::{VARIANTS, said, steady, variant};
use super::*;
use crate::{
    config::Config,
    input::{BootId, SelfInfo},
    time::{Mono, Now, Wall},
};

fn at(seconds: u64) -> Now {
    Now {
        mono: Mono(seconds * 1_000_000_000),
        wall: Wall(1_700_000_000_000_000_000 + seconds * 1_000_000_000),
    }
}

fn header() -> Header {
    let info = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    Header::new(at(1), "0.1.0", info, &Config::default())
}

/// A whole file, a flush after each of `flushes`.
fn file(all: &[(Now, Said)], bytes_max: u64, flush_every: usize) -> Vec<u8> {
    let (mut ring, first) = FileRing::new(header(), bytes_max).unwrap();
    let mut file = Vec::new();
    put(&mut file, &first);
    for (place, (now, said)) in all.iter().enumerate() {
        assert!(ring.push(*now, said.clone()));
        if place % flush_every == 0 || ring.is_full() {
            for piece in ring.flush().unwrap() {
                put(&mut file, &piece);
            }
        }
    }
    for piece in ring.finish().unwrap() {
        put(&mut file, &piece);
    }
    file
}

fn put(file: &mut Vec<u8>, piece: &Piece) {
    let start = usize::try_from(piece.offset).unwrap();
    let end = start + piece.bytes.len();
    file.resize(file.len().max(end), 0);
    file[start..end].copy_from_slice(&piece.bytes);
}

fn shown(entry: &(Now, Said)) -> String {
    format!("{entry:?}")
}

fn read(file: &[u8]) -> (Vec<String>, Option<Flaw>, Tally) {
    let mut reader = Reader::open(file).unwrap();
    let entries: Vec<_> = reader.by_ref().map(|e| shown(&(e.now, e.said))).collect();
    (entries, reader.flaw().cloned(), reader.tally())
}

fn small() -> Vec<(Now, Said)> {
    let table = |text: &str| Input::Mountinfo {
        mnt_ns: 1,
        is_own: true,
        read_at: Mono(3),
        bytes: text.as_bytes().to_vec(),
    };
    let inputs = [
        table("one"),
        Input::Tick,
        Input::Record(vec![1; 72]),
        table("one"),
        table("two"),
        Input::Tick,
    ];
    let inputs = (1..).zip(inputs);
    inputs
        .map(|(second, input)| (at(second), Said::Input(input)))
        .collect()
}

proptest! {
    #[test]
    fn every_input_is_read_as_it_was_taken(
        all in vec(said(), 0..40), flush_every in 1_usize..9,
    ) {
        let all: Vec<_> = (1..).zip(all).map(|(second, said)| (at(second), said)).collect();
        let (entries, flaw, tally) = read(&file(&all, 64 << 20, flush_every));
        prop_assert_eq!(flaw, None);
        prop_assert_eq!(tally.unknown, 0);
        prop_assert_eq!(entries, all.iter().map(shown).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_a_recording_or_none(bytes in vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Reader::open(&bytes).is_err());
        // In place of the frame that ends it.
        let mut whole = file(&[], 1 << 20, 1);
        whole.truncate(whole.len() - frame::FRAME_HEADER_BYTES);
        let mut reader = Reader::open(&whole).unwrap();
        prop_assert_eq!(reader.by_ref().count(), 0);
        let behind = [whole, bytes].concat();
        let mut reader = Reader::open(&behind).unwrap();
        prop_assert_eq!(reader.by_ref().count(), 0);
        prop_assert!(reader.flaw().is_some());
    }

    #[test]
    fn what_is_flipped_is_never_taken_for_something_else(
        place in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let all = small();
        let whole = file(&all, 1 << 20, 2);
        let mut damaged = whole.clone();
        let place = place.index(damaged.len());
        damaged[place] ^= 1 << bit;
        if let Ok(mut reader) = Reader::open(&damaged) {
            let entries: Vec<_> = reader.by_ref().map(|e| shown(&(e.now, e.said))).collect();
            let expected: Vec<_> = all.iter().map(shown).collect();
            prop_assert!(reader.flaw().is_some());
            prop_assert!(entries.len() <= expected.len());
            prop_assert_eq!(&entries[..], &expected[..entries.len()]);
        }
    }

    #[test]
    fn payloads_that_fit_their_checksum_and_mean_nothing_are_harmless(
        payload in vec(any::<u8>(), 0..600),
    ) {
        let mut file = file(&[], 1 << 20, 1);
        let end = file.len() - frame::FRAME_HEADER_BYTES;
        file.truncate(end);
        file.extend(frame::pack(frame::FrameKind::Entries, 1, 1, &payload).unwrap());
        Reader::open(&file).unwrap().for_each(drop);
    }
}

#[test]
fn the_strategies_above_make_every_variant() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3_000 {
        let tree = said().new_tree(&mut runner).unwrap();
        if let Said::Input(input) = proptest::strategy::ValueTree::current(&tree) {
            seen.insert(variant(&input));
        }
    }
    assert_eq!(seen, (0..VARIANTS).collect());
}

#[test]
fn a_file_that_was_cut_anywhere_is_read_up_to_there() {
    let all = small();
    let whole = file(&all, 1 << 20, 2);
    let expected: Vec<_> = all.iter().map(shown).collect();
    let mut most = 0;
    for length in 0..whole.len() {
        let Ok(mut reader) = Reader::open(&whole[..length]) else {
            continue;
        };
        let entries: Vec<_> = reader.by_ref().map(|e| shown(&(e.now, e.said))).collect();
        assert_eq!(entries, expected[..entries.len()], "cut after {length}");
        assert!(reader.flaw().unwrap().is_cut(), "cut after {length}");
        assert!(entries.len() >= most);
        most = entries.len();
    }
    assert_eq!(most, expected.len());
    assert_eq!(read(&whole).1, None);
}

/// Tables of some length that change, so that segments fill up.
fn long(count: u64) -> Vec<(Now, Said)> {
    let mut noise = 1_u64;
    let mut all = Vec::new();
    for second in 0..count {
        let bytes = (0..2_000).map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise.to_be_bytes()[0]
        });
        let bytes: Vec<u8> = bytes.collect();
        let mnt_ns = u32::try_from(second % 5).unwrap();
        let table = Input::Mountinfo {
            mnt_ns,
            is_own: mnt_ns == 0,
            read_at: at(second).mono,
            bytes,
        };
        all.push((at(second), Said::Input(table)));
        all.push((at(second), Said::Input(Input::Tick)));
    }
    all
}

/// What stood before the first of `rest`, of tables.
fn standing_before(all: &[(Now, Said)], rest: usize) -> Vec<String> {
    let mut standing = Standing::default();
    for (now, said) in &all[..rest] {
        standing.take(*now, said.clone());
    }
    let standing = standing.all().into_iter();
    standing
        .map(|(now, said)| shown(&(now, said.clone())))
        .collect()
}

#[test]
fn a_ring_that_lost_its_beginning_starts_with_what_stood_then() {
    let all = long(2_000);
    let whole = file(&all, 1 << 20, 10);
    assert!(whole.len() <= 1 << 20, "{} bytes", whole.len());
    let mut reader = Reader::open(&whole).unwrap();
    let entries: Vec<_> = reader.by_ref().collect();
    assert_eq!(reader.flaw(), None);
    let standing: Vec<_> = entries.iter().filter(|entry| entry.is_standing).collect();
    let standing: Vec<_> = standing
        .iter()
        .map(|e| shown(&(e.now, e.said.clone())))
        .collect();
    let rest: Vec<_> = entries.iter().filter(|entry| !entry.is_standing).collect();
    let rest: Vec<_> = rest
        .iter()
        .map(|e| shown(&(e.now, e.said.clone())))
        .collect();
    assert!(rest.len() > 500, "{} entries", rest.len());
    let begin = all.len() - rest.len();
    assert_eq!(rest, all[begin..].iter().map(shown).collect::<Vec<_>>());
    assert_eq!(standing, standing_before(&all, begin));
}

#[test]
fn what_is_written_as_a_difference_is_read_across_segments() {
    let mut all = Vec::new();
    for (now, said) in long(500) {
        if matches!(said, Said::Input(Input::Tick)) {
            let second = now.mono.0 / at(1).mono.0;
            all.extend(steady(second).map(|input| (now, Said::Input(input))));
        }
        all.push((now, said));
    }
    let (entries, flaw, tally) = read(&file(&all, 1 << 20, 10));
    assert_eq!((flaw, tally.unknown), (None, 0));
    let count = entries.len();
    let all: Vec<_> = all.iter().map(shown).collect();
    let rest = (0..count).find(|at| all.ends_with(&entries[*at..]));
    assert!(rest.is_some_and(|begin| count - begin > 1_000), "{rest:?}");
}

#[test]
fn a_ring_whose_writer_is_killed_at_any_time_can_be_read() {
    let all = long(1_300);
    let (mut ring, first) = FileRing::new(header(), 1 << 20).unwrap();
    let mut file = Vec::new();
    put(&mut file, &first);
    for (place, (now, said)) in all.iter().enumerate() {
        assert!(ring.push(*now, said.clone()));
        if place % 8 != 7 {
            continue;
        }
        let pieces = ring.flush().unwrap();
        // Reading takes long: the turns of segments, and some between.
        let is_of_interest = pieces.len() > 1 || place % 128 == 7;
        let count = pieces.len();
        for (number, piece) in pieces.into_iter().enumerate() {
            put(&mut file, &piece);
            if !is_of_interest {
                continue;
            }
            let mut reader = Reader::open(&file).unwrap();
            let entries: Vec<_> = reader.by_ref().collect();
            let flaw = reader.flaw().unwrap();
            assert!(flaw.is_cut(), "{flaw:?} after {place}");
            let rest = entries.iter().filter(|entry| !entry.is_standing);
            let rest: Vec<_> = rest.map(|e| shown(&(e.now, e.said.clone()))).collect();
            // Until the last piece is there, the entries of this flush may be missing.
            let missing = if number + 1 == count { 0 } else { 8 };
            let known: Vec<_> = all[..=place].iter().map(shown).collect();
            let ends = known.len() - missing..=known.len();
            let is_run = |end: usize| known[..end].ends_with(&rest);
            assert!(
                !rest.is_empty() && ends.into_iter().any(is_run),
                "after {place}"
            );
        }
    }
}

#[test]
fn a_state_that_no_segment_can_hold_is_said() {
    let (mut ring, _) = FileRing::new(header(), 1 << 20).unwrap();
    let mut failed = false;
    for (now, said) in long(400) {
        let said = match said {
            Said::Input(Input::Mountinfo { bytes, .. }) => Said::Input(Input::Mountinfo {
                mnt_ns: u32::try_from(now.mono.0 / 1_000_000_000).unwrap(),
                is_own: false,
                read_at: now.mono,
                bytes,
            }),
            said @ (Said::Input(_) | Said::Reconfigure(_) | Said::Lost(_)) => said,
        };
        assert!(ring.push(now, said));
        failed = failed || ring.flush().is_err();
    }
    assert!(failed);
}

#[test]
fn the_ring_in_memory_holds_its_minutes_and_what_stood_before() {
    let all = long(400);
    let mut ring = MemoryRing::new(header(), std::time::Duration::from_mins(1), 1 << 20);
    for (now, said) in &all {
        ring.push(*now, said);
    }
    assert!(ring.bytes() < 1 << 20);
    let saved = ring.save(at(400)).unwrap();
    let mut reader = Reader::open(&saved).unwrap();
    let entries: Vec<_> = reader.by_ref().collect();
    assert_eq!(reader.flaw(), None);
    let rest = entries.iter().filter(|entry| !entry.is_standing);
    let rest: Vec<_> = rest.map(|e| shown(&(e.now, e.said.clone()))).collect();
    // A minute, and up to an eighth more.
    assert!((120..=144).contains(&rest.len()), "{} entries", rest.len());
    let begin = all.len() - rest.len();
    assert_eq!(rest, all[begin..].iter().map(shown).collect::<Vec<_>>());
    let standing = entries.iter().filter(|entry| entry.is_standing);
    let standing: Vec<_> = standing.map(|e| shown(&(e.now, e.said.clone()))).collect();
    assert_eq!(standing, standing_before(&all, begin));
}

#[test]
fn the_ring_in_memory_stays_below_its_bytes() {
    let mut ring = MemoryRing::new(header(), std::time::Duration::from_hours(1), 1 << 20);
    for (now, said) in &long(1_000) {
        ring.push(*now, said);
        assert!(ring.bytes() <= 1 << 20);
    }
    assert!(ring.bytes() > 512 << 10);
}

#[test]
fn a_header_tells_all_that_decides_and_nothing_secret() {
    let mut config = Config::example();
    config.scope.local_filesystems = true;
    config.detect.storm_errors = 77;
    let text = format!(
        "{:?}",
        Header::new(at(1), "0.1.0", header().self_info(), &config)
    );
    assert!(!text.contains("hooks.example.org"), "{text}");
    let whole = file(&[], 1 << 20, 1);
    let reader = Reader::open(&whole).unwrap();
    assert_eq!(reader.header().decisive, Decisive::of(&Config::default()));
    assert_eq!(reader.header().self_info(), header().self_info());
    assert_eq!(reader.header().started(), at(1));
}

#[test]
fn what_is_no_recording_is_said_to_be_none() {
    assert_eq!(Reader::open(b"").err(), Some(OpenError::NoRecording));
    assert_eq!(Reader::open(&[7; 100]).err(), Some(OpenError::NoRecording));
    let mut later = file(&[], 1 << 20, 1);
    later[12] = 9;
    assert_eq!(Reader::open(&later).err(), Some(OpenError::Format(9)));
}

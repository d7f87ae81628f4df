//! A trace shows NFS operations as well: as many as the client counts, each with how it ended.

use std::time::Duration;

use mount_observer_tests::{
    Sandbox,
    needs::say,
    nfs::{NfsMount, Version},
    scene::{SOON, outcome},
    wait::{now, patience, poll, within},
};
use nix::libc;

use crate::{
    guest,
    nfs_operations::{SHARED, with_nfs},
    skip,
    trace::{Counts, Trace, by_operation, difference},
};

/// Many beats of the trace.
const REST: Duration = Duration::from_secs(1);

#[test]
fn a_trace_of_nfs_shows_each_operation_that_its_client_counts() {
    with_nfs(Version::V4, |sandbox, nfs| compare(sandbox, nfs));
}

fn compare(sandbox: &Sandbox, nfs: &NfsMount) {
    let trace = Trace::of(sandbox, &nfs.path, &[]);
    if guest().is_some_and(|guest| guest.ends_with("confidentiality")) {
        return skip("no program may read which mount an operation is for");
    }
    let stat = |file: &str| outcome(sandbox, "stat", &nfs.path.join(file), &["--repeat=20"]);
    within(SOON, "an operation is shown", || {
        stat("file1");
        (!trace.ended().is_empty()).then_some(())
    });
    let (counted, before) = at_rest(nfs, &trace);
    assert_eq!(stat("file2"), "ok 20");
    let read = outcome(sandbox, "read", &nfs.path.join("file3"), &["--repeat=20"]);
    assert_eq!(read, "ok 20");
    assert_eq!(stat("missing"), format!("{} 20", libc::ENOENT));
    let shown = || by_operation(&difference(&trace.ended(), &before));
    let wanted = || difference(&by_client(nfs), &counted);
    let is_same = poll(SOON, || (shown() == wanted()).then_some(()));
    let (shown, wanted) = (shown(), wanted());
    let failed = trace.ended();
    let missed = trace.summary()["lost"]["calls_missed"].as_u64();
    if is_same.is_none() {
        let sum = |counts: &Counts| counts.values().sum::<u64>();
        let lacking = sum(&wanted).checked_sub(sum(&shown));
        assert!(
            lacking.is_some_and(|lacking| lacking > 0 && Some(lacking) <= missed),
            "shown {shown:?}\nclient {wanted:?}, {missed:?} missed"
        );
        say(&format!(
            "NOT EXACT: {lacking:?} operations were missed, and counted as such"
        ));
    }
    let missing = failed.get(&("LOOKUP".to_owned(), "ENOENT".to_owned()));
    assert!(missed > Some(0) || missing == Some(&20), "{failed:?}");
    say(&format!(
        "{} NFS operations shown",
        shown.values().sum::<u64>()
    ));
}

/// What both have counted once nothing more comes: what ended is shown within a beat of the trace.
fn at_rest(nfs: &NfsMount, trace: &Trace) -> (Counts, Counts) {
    let mut last = (by_client(nfs), trace.ended());
    let mut unchanged_since = now();
    within(SOON, "it comes to rest", || {
        let seen = (by_client(nfs), trace.ended());
        if seen != last {
            (last, unchanged_since) = (seen, now());
        }
        (unchanged_since.elapsed() >= patience(REST)).then_some(())
    });
    last
}

/// What the client has counted for this mount alone.
fn by_client(nfs: &NfsMount) -> Counts {
    let all = nfs.statistics().into_iter();
    let own = all.filter(|(operation, _)| !SHARED.contains(&&operation[..]));
    own.map(|(operation, (ended, _))| ((operation, String::new()), ended))
        .collect()
}

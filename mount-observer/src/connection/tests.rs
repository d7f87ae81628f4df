use mount_observer_common::AbortCause;

use super::*;
use crate::{decode::Caller, superblock::Dev};

const MS: u64 = 1_000_000;

const KILLED: Exit = Exit {
    status: 9,
    is_oom: false,
};

fn at(ms: u64) -> Mono {
    Mono(ms * MS)
}

fn holder(connection: u64, pid: u32, is_connected: bool) -> Holder {
    Holder {
        connection,
        dev: Some(Dev(52)),
        pid,
        comm: "sshfs".to_owned(),
        is_stopped: false,
        is_connected,
        waiting: 0,
        is_cut: false,
    }
}

fn served() -> Connection {
    let mut connection = Connection::default();
    let row = holder(0xa, 99, true);
    assert_eq!(
        connection.observe_holders(at(0), &[&row], true),
        Identity::Same
    );
    connection
}

fn check(connection: &mut Connection, ms: u64, is_connected: bool) -> Identity {
    let state = ConnectionState {
        is_connected,
        waiting: 0,
    };
    connection.observe_check(at(ms), Some(state))
}

/// A table read at once.
fn confirm(connection: &mut Connection, ms: u64) -> Confirmation {
    connection.confirm_death(at(ms), at(ms))
}

/// A scan under way, and one made before the exiting process has closed its files, both show it still.
#[test]
fn a_scan_does_not_undo_an_exit() {
    let mut connection = served();
    assert!(connection.server_exited(99, KILLED));
    let row = holder(0xa, 99, true);
    connection.observe_holders(at(1), &[&row], true);
    let [server] = &connection.servers()[..] else {
        panic!("{connection:?}");
    };
    assert_eq!(server.exit.as_deref(), Some("SIGKILL"));
}

#[test]
fn an_aborted_connection_that_once_had_the_number_is_not_taken_for_ours() {
    let connection = served();
    let (ours, past) = (holder(0xa, 99, false), holder(0xb, 98, false));
    let successor = holder(0xb, 98, true);
    assert!(!connection.is_among(std::slice::from_ref(&past)));
    assert!(connection.is_among(&[past.clone(), ours]));
    assert!(connection.is_among(&[successor]));
    assert!(
        Connection::default().is_among(&[past]),
        "nothing better is known"
    );
}

#[test]
fn a_disconnect_is_a_death_once_the_table_still_shows_the_mount() {
    let mut connection = served();
    connection.server_exited(99, KILLED);
    check(&mut connection, 10, false);
    assert_eq!(connection.death(at(10), false), None);
    assert_eq!(confirm(&mut connection, 9), Confirmation::TooEarly);
    assert_eq!(confirm(&mut connection, 11), Confirmation::Settled);
    assert_eq!(confirm(&mut connection, 12), Confirmation::Known);
    let death = connection.death(at(12), false).unwrap();
    assert_eq!((death.since, death.how), (at(10), Cause::Disconnected));
}

fn aborted(ms: u64, cause: AbortCause) -> Abort {
    Abort {
        at: at(ms),
        cause,
        by: Caller {
            pid: 7,
            tid: 7,
            comm: "sh".to_owned(),
        },
    }
}

#[test]
fn a_forced_unmount_is_given_time_to_unmount() {
    let forced = aborted(10, AbortCause::ForcedUnmount);
    for (abort, settled) in [
        (None, Confirmation::Unclear),
        (Some(forced), Confirmation::Settled),
    ] {
        let mut connection = served();
        if let Some(abort) = abort {
            connection.observe_abort(abort);
        }
        check(&mut connection, 10, false);
        assert_eq!(confirm(&mut connection, 20), Confirmation::TooEarly);
        assert!(!connection.awaits_table(at(209)) && connection.awaits_table(at(210)));
        assert_eq!(confirm(&mut connection, 210), settled);
        assert!(!connection.awaits_table(at(211)));
    }
}

/// On a kernel where nobody sees why a connection ends: its server ends well after an unmount, and the
/// number is another mount's by then, under the same id.
#[test]
fn where_a_server_ended_well_only_a_look_at_all_holders_settles_a_death() {
    let mut connection = served();
    connection.server_exited(
        99,
        Exit {
            status: 0,
            ..KILLED
        },
    );
    check(&mut connection, 10, false);
    assert_eq!(
        connection.confirm_death(at(12), at(11)),
        Confirmation::Unclear
    );
    assert_eq!(connection.death(at(13), false), None);
    let mut succeeded = connection.clone();
    assert!(
        !connection.observe_no_successor(at(11)),
        "begun before the table was read"
    );
    assert!(connection.observe_no_successor(at(12)));
    assert!(connection.death(at(13), false).is_some());
    let row = holder(0xb, 100, true);
    assert_eq!(
        succeeded.observe_holders(at(13), &[&row], true),
        Identity::Other
    );
}

#[test]
fn an_abort_that_unmounts_nothing_is_a_death_at_once_and_since_then() {
    let mut connection = served();
    connection.observe_abort(aborted(10, AbortCause::Fusectl));
    check(&mut connection, 12, false);
    assert_eq!(confirm(&mut connection, 12), Confirmation::Settled);
    assert_eq!(connection.death(at(12), false).unwrap().since, at(10));
    connection.observe_abort(aborted(500, AbortCause::Unmount));
    let cause = connection.abort().map(|abort| abort.cause);
    assert_eq!(cause, Some(AbortCause::Fusectl), "it was dead by then");
}

#[test]
fn an_abort_where_nothing_can_be_read_is_a_death_unless_it_unmounts() {
    let mut connection = served();
    connection.observe_unread_abort(at(12), aborted(10, AbortCause::ServerExit));
    assert_eq!(connection.death(at(60_000), false).unwrap().since, at(10));
    let mut connection = served();
    connection.observe_unread_abort(at(12), aborted(10, AbortCause::Unmount));
    assert_eq!(connection.death(at(60_000), false), None);
}

#[test]
fn a_reading_after_an_abort_that_had_to_do_settles_nothing_anew() {
    let mut connection = Connection::default();
    connection.observe_unread_abort(at(12), aborted(10, AbortCause::ServerExit));
    assert_eq!(confirm(&mut connection, 13), Confirmation::Settled);
    let row = holder(0xa, 99, true);
    let identity = connection.observe_holders(at(20), &[&row], true);
    assert_eq!(identity, Identity::Same, "whoever aborts it takes a moment");
    let death = |connection: &Connection| connection.death(at(30), false).unwrap();
    assert_eq!(death(&connection).how, Cause::Aborted);
    assert_eq!(check(&mut connection, 30, false), Identity::Same);
    let end = death(&connection);
    assert_eq!((end.since, end.how), (at(10), Cause::Disconnected));
}

#[test]
fn what_lives_long_after_an_abort_that_had_to_do_is_another_connection() {
    let mut connection = Connection::default();
    connection.observe_unread_abort(at(12), aborted(10, AbortCause::ServerExit));
    let row = holder(0xa, 100, true);
    let identity = connection.observe_holders(at(2_010), &[&row], true);
    assert_eq!(identity, Identity::Other);
}

#[test]
fn an_abort_nobody_can_tell_from_a_forced_unmount_waits_where_no_server_is_known() {
    let mut connection = Connection::default();
    connection.observe_unread_abort(at(10), aborted(10, AbortCause::Unknown));
    assert_eq!(confirm(&mut connection, 20), Confirmation::TooEarly);
    assert_eq!(confirm(&mut connection, 210), Confirmation::Settled);
}

#[test]
fn a_server_nobody_has_seen_is_gone_only_where_its_end_is_what_was_seen() {
    for (cause, status) in [
        (AbortCause::ServerExit, ServerStatus::Gone),
        (AbortCause::Fusectl, ServerStatus::Unknown),
    ] {
        let mut connection = Connection::default();
        connection.observe_unread_abort(at(10), aborted(10, cause));
        assert_eq!(connection.status(), status);
    }
}

#[test]
fn an_abort_that_is_recorded_late_still_tells_how() {
    let mut connection = served();
    check(&mut connection, 12, false);
    connection.observe_abort(aborted(11, AbortCause::Timeout));
    assert!(connection.abort().is_some());
}

#[test]
fn an_abort_of_a_past_connection_is_forgotten() {
    let mut connection = served();
    connection.observe_abort(aborted(10, AbortCause::ServerExit));
    check(&mut connection, 11, true);
    assert!(connection.abort().is_some(), "it takes a moment");
    check(&mut connection, 2_010, true);
    assert_eq!(connection.abort(), None);
    assert!(!connection.is_dying());
}

#[test]
fn what_its_last_unmount_ends_never_dies() {
    let mut connection = served();
    connection.observe_abort(aborted(10, AbortCause::Unmount));
    check(&mut connection, 11, false);
    assert!(connection.is_dying() && connection.is_unmounting());
    assert_eq!(connection.death(at(60_000), false), None);
    assert!(!connection.is_unmounted_at(at(9)) && connection.is_unmounted_at(at(10)));
}

#[test]
fn a_disconnect_nobody_can_look_into_is_a_death_in_the_end() {
    let mut connection = served();
    check(&mut connection, 10, false);
    assert_eq!(connection.death(at(2_500), false), None);
    assert!(connection.death(at(2_510), false).is_some());
}

#[test]
fn what_was_disconnected_and_lives_is_another_connection() {
    let mut connection = served();
    check(&mut connection, 10, false);
    assert_eq!(check(&mut connection, 20, true), Identity::Other);
    let same_address = holder(0xa, 100, true);
    let rows = [&same_address];
    assert_eq!(
        connection.observe_holders(at(20), &rows, true),
        Identity::Other
    );
}

#[test]
fn an_aborted_namesake_does_not_hide_the_living_connection() {
    let mut connection = served();
    let (old, new) = (holder(0x9, 50, false), holder(0xa, 99, true));
    assert_eq!(
        connection.observe_holders(at(10), &[&old, &new], true),
        Identity::Same
    );
    assert!(!connection.is_dying());
    assert_eq!(connection.server_pids().collect::<Vec<_>>(), [99]);
}

#[test]
fn an_address_that_leads_nowhere_is_forgotten() {
    let mut connection = served();
    assert_eq!(connection.observe_check(at(10), None), Identity::Lost);
    assert_eq!(connection.address, None);
    assert!(!connection.is_dying());
}

#[test]
fn nobody_holding_it_must_last_unless_the_exit_was_seen() {
    let mut connection = Connection::default();
    for (ms, is_dead) in [(0, false), (900, false), (1_000, true)] {
        connection.observe_absence(at(ms));
        connection.judge_absence(at(ms), false);
        assert_eq!(connection.is_dying(), is_dead, "{ms}");
    }
    let mut connection = served();
    assert!(connection.server_exited(99, KILLED));
    assert!(!connection.server_exited(1, KILLED));
    connection.observe_absence(at(1));
    connection.judge_absence(at(1), false);
    assert!(connection.is_dying());
}

#[test]
fn a_holder_that_was_overlooked_revives_what_was_only_inferred() {
    let mut connection = Connection::default();
    connection.observe_absence(at(0));
    connection.observe_absence(at(2_000));
    connection.judge_absence(at(2_000), false);
    assert!(connection.is_dying());
    let row = holder(0xa, 99, true);
    connection.observe_holders(at(3_000), &[&row], true);
    assert!(!connection.is_dying());
}

#[test]
fn it_is_stopped_when_all_its_servers_are() {
    let mut connection = served();
    let (parent, child) = (holder(0xa, 99, true), holder(0xa, 100, true));
    connection.observe_holders(at(1), &[&parent, &child], true);
    connection.servers_seen(at(2), &BTreeMap::from([(99, true)]));
    assert_eq!(connection.status(), ServerStatus::Running);
    connection.servers_seen(at(5), &BTreeMap::from([(99, true), (100, true)]));
    assert_eq!(connection.status(), ServerStatus::Stopped);
    assert_eq!(connection.stopped_since(), Some(at(5)));
    connection.servers_seen(at(9), &BTreeMap::from([(99, true), (100, true)]));
    assert_eq!(connection.stopped_since(), Some(at(5)));
    connection.servers_seen(at(10), &BTreeMap::from([(100, false)]));
    assert_eq!(connection.status(), ServerStatus::Running);
}

#[test]
fn a_server_that_was_killed_for_its_memory_is_told_from_one_that_was_just_killed() {
    let mut connection = served();
    let exit = Exit {
        is_oom: true,
        ..KILLED
    };
    connection.server_exited(99, exit);
    assert!(
        connection
            .servers_text()
            .contains("(SIGKILL (out of memory))")
    );
}

#[test]
fn the_ends_of_servers_in_words() {
    let text = |status| Exit { status, ..KILLED }.text();
    let texts = [9, 15, 1 << 8, 0, 0x8b, 64].map(text);
    assert_eq!(
        texts,
        [
            "SIGKILL",
            "SIGTERM",
            "exit 1",
            "exit 0",
            "SIGSEGV",
            "signal 64"
        ]
    );
}

#[test]
fn servers_are_bounded_and_those_that_left_go_first() {
    let mut connection = Connection::default();
    for pid in 0..100 {
        let row = holder(0xa, pid, true);
        connection.observe_holders(at(u64::from(pid)), &[&row], true);
    }
    assert_eq!(connection.servers().len(), SERVERS_MAX);
    assert_eq!(connection.server_pids().collect::<Vec<_>>(), [99]);
}

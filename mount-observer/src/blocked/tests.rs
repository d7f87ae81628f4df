use super::*;

const DEV: Dev = Dev(60);

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

fn task(tid: u32, switches: u64, is_walking: bool) -> Task {
    Task {
        caller: Caller {
            pid: tid,
            tid,
            comm: "cat".to_owned(),
        },
        since: None,
        switches: Some(switches),
        state: 'D',
        is_stopped: false,
        walk_dev: is_walking.then_some(DEV),
        file_dev: Some(DEV),
        call_dev: None,
        cause_dev: None,
        stack: vec![0x2008, 0x9999],
    }
}

fn scan(waiters: &mut Waiters, ms: u64, tasks: &[Task], is_full: bool) -> Vec<Dev> {
    let tasks: Vec<&Task> = tasks.iter().collect();
    waiters.update(at(ms), &tasks, is_full, |_| {
        Some(Place {
            dev: DEV,
            cause: None,
        })
    })
}

fn ages(waiters: &Waiters, ms: u64) -> Vec<u128> {
    waiters.iter().map(|w| w.age(at(ms)).as_millis()).collect()
}

#[test]
fn a_task_that_has_not_run_is_blocked_since_it_was_first_seen() {
    let mut waiters = Waiters::default();
    for ms in [0, 500, 1_000] {
        assert_eq!(scan(&mut waiters, ms, &[task(1, 5, true)], false), []);
    }
    assert_eq!(ages(&waiters, 1_000), [1_000]);
}

#[test]
fn a_task_that_ran_in_between_starts_again() {
    let mut waiters = Waiters::default();
    scan(&mut waiters, 0, &[task(1, 5, true)], false);
    assert_eq!(scan(&mut waiters, 500, &[task(1, 6, true)], false), [DEV]);
    assert_eq!(ages(&waiters, 500), [0]);
}

#[test]
fn a_light_scan_says_nothing_of_tasks_outside_a_path_walk() {
    let mut waiters = Waiters::default();
    let tasks = [task(1, 5, true), task(2, 5, false)];
    scan(&mut waiters, 0, &tasks, true);
    assert_eq!(scan(&mut waiters, 500, &[], false), [DEV]);
    assert_eq!(
        waiters.iter().map(|w| w.caller.tid).collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(scan(&mut waiters, 1_000, &[], true), [DEV]);
    assert_eq!(waiters.iter().count(), 0);
}

#[test]
fn stacks_show_the_functions_that_are_known() {
    let mut waiters = Waiters::default();
    let function = |start, name: &str| WaitFunction {
        start,
        end: start + 0x100,
        name: name.to_owned(),
    };
    waiters.set_functions(vec![
        function(0x3000, "fuse_get_req"),
        function(0x2000, "rpc_wait_bit_killable"),
    ]);
    assert_eq!(waiters.waits_in(&[0x2008]), Some("rpc_wait_bit_killable"));
    assert_eq!(waiters.waits_in(&[0x1fff, 0x2100]), None);
    assert_eq!(waiters.symbolised(&[0x2fff, 0x3000]), ["?", "fuse_get_req"]);
}

#[test]
fn an_address_is_asked_for_once_and_never_shown_and_a_name_may_come_before() {
    let mut waiters = Waiters::default();
    scan(&mut waiters, 0, &[task(1, 5, true)], true);
    assert_eq!(waiters.take_unnamed(Mono(0)), [0_u64; 0], "not blocked yet");
    let now = Mono(1_000_000_000);
    assert_eq!(waiters.take_unnamed(now), [0x2008, 0x9999]);
    assert_eq!(waiters.take_unnamed(now), [0_u64; 0]);
    waiters.set_names(vec![
        (0x2008, "schedule".to_owned()),
        (0x1234, "named_before".to_owned()),
    ]);
    assert_eq!(
        waiters.symbolised(&[0x2008, 0x9999, 0x1234]),
        ["schedule", "?", "named_before"]
    );
}

#[test]
fn tasks_are_bounded_and_the_rest_is_counted() {
    let mut waiters = Waiters::default();
    let many: Vec<Task> = (0..20_000).map(|tid| task(tid, 1, true)).collect();
    scan(&mut waiters, 0, &many, true);
    assert_eq!(waiters.iter().count(), TASKS_MAX);
    assert_eq!(waiters.refused, 20_000 - 16_384);
}

#[test]
fn a_light_scan_tells_that_an_open_call_has_ended() {
    let mut waiters = Waiters::default();
    let called = Task {
        since: Some(at(0)),
        call_dev: Some(DEV),
        ..task(1, 5, false)
    };
    assert_eq!(scan(&mut waiters, 500, &[called], false), []);
    assert_eq!(ages(&waiters, 600), [600]);
    assert_eq!(scan(&mut waiters, 1_000, &[], false), [DEV], "it moved on");
    assert_eq!(ages(&waiters, 1_000), [0; 0]);
}

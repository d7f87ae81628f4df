use super::*;

const DEV: Dev = Dev(52);
const LOOKUP: Operation = Operation::fuse(1);

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

fn sent(start_ms: u64, unique: u64) -> Sent {
    Sent {
        start: at(start_ms),
        unique: Some(unique),
        nodeid: 1,
        dev: DEV,
        operation: LOOKUP,
        caller: Caller {
            pid: 12,
            tid: 12,
            comm: "stat".to_owned(),
        },
        cgroup: None,
    }
}

fn queued(address: u64, unique: u64, age_ms: Option<u64>) -> Queued {
    Queued {
        request: address,
        unique: Some(unique),
        nodeid: 1,
        age: age_ms.map(Duration::from_millis),
        dev: DEV,
        operation: LOOKUP,
        pid: Some(12),
        is_at_server: true,
    }
}

fn walk(found: &[Queued], is_whole: bool) -> Walk {
    Walk {
        found: found.iter().map(|q| (q.request, q.clone())).collect(),
        is_whole,
    }
}

fn only(requests: &Requests) -> &Tracked {
    let mut all = requests.iter();
    let first = all.next().unwrap();
    assert!(all.next().is_none());
    first
}

#[test]
fn an_age_is_reached_once() {
    let mut requests = Requests::default();
    requests.update_sent(at(0), [(7, sent(1_500, 4))].into_iter());
    let reached = |after, until| requests.has_reached(Duration::from_secs(2), at(after), at(until));
    assert!(!reached(3_000, 3_499));
    assert!(reached(3_000, 3_500));
    assert!(!reached(3_500, 4_500));
    // A tick before it began is no reason to miss it.
    assert!(reached(0, 3_600));
}

#[test]
fn a_request_is_confirmed_by_the_list_it_stands_on() {
    let mut requests = Requests::default();
    requests.update_sent(at(0), [(7, sent(0, 4))].into_iter());
    assert!(!only(&requests).is_confirmed(at(5_000), None, false));
    requests.update_queue(at(5_000), DEV, &walk(&[queued(7, 4, None)], true));
    requests.update_sent(at(0), [(7, sent(0, 4))].into_iter());
    let tracked = only(&requests);
    assert!(tracked.is_confirmed(at(5_000), None, false));
    assert_eq!(tracked.is_at_server, Some(true));
    assert!(!tracked.is_confirmed(at(8_000), None, false), "long ago");
    assert!(tracked.is_confirmed(at(8_000), None, true), "caller sleeps");
}

#[test]
fn a_request_the_lists_do_not_show_twice_is_forgotten_for_good() {
    let mut requests = Requests::default();
    let entry = || [(7, sent(0, 4))].into_iter();
    requests.update_sent(at(0), entry());
    let empty = walk(&[], true);
    assert_eq!(requests.update_queue(at(2_000), DEV, &empty).0, []);
    requests.update_sent(at(0), entry());
    let (forget, _) = requests.update_queue(at(3_000), DEV, &empty);
    assert_eq!(forget, [(7, at(0).0)]);
    requests.update_sent(at(0), entry());
    assert_eq!(requests.iter().count(), 0, "the kernel side still has it");
    requests.update_sent(at(0), [(7, sent(4_000, 9))].into_iter());
    assert_eq!(only(&requests).start, at(4_000), "another request");
    assert_eq!(requests.orphans, 1);
}

#[test]
fn lists_that_were_not_walked_to_the_end_prove_nothing() {
    let mut requests = Requests::default();
    requests.update_sent(at(0), [(7, sent(0, 4))].into_iter());
    for second in 2..20 {
        let cut = walk(&[], false);
        assert_eq!(requests.update_queue(at(second * 1_000), DEV, &cut).0, []);
    }
    assert_eq!(requests.iter().count(), 1);
}

#[test]
fn a_count_of_zero_ends_what_is_older_than_the_reading() {
    let mut requests = Requests::default();
    requests.update_sent(
        at(1_600),
        [(7, sent(0, 4)), (8, sent(1_500, 5))].into_iter(),
    );
    let forget = |requests: &mut Requests, since| requests.nothing_waits(at(2_000), DEV, at(since));
    assert_eq!(
        forget(&mut requests, 1_600),
        [],
        "the map may show what ended since"
    );
    assert_eq!(forget(&mut requests, 1_500), [(7, at(0).0)]);
    assert_eq!(only(&requests).address, 8);
}

#[test]
fn a_request_older_than_the_probes_is_known_from_its_list() {
    let mut requests = Requests::default();
    let found = [queued(7, 4, Some(40_000))];
    requests.update_queue(at(60_000), DEV, &walk(&found, true));
    let tracked = only(&requests);
    assert_eq!(tracked.start, at(20_000));
    assert!(tracked.is_start_known && !tracked.is_probed);
    requests.update_sent(at(0), std::iter::empty());
    assert_eq!(requests.iter().count(), 1, "the probes know nothing of it");
    let (forget, has_progressed) = requests.update_queue(at(61_000), DEV, &walk(&[], true));
    assert_eq!((forget, has_progressed), (Forget::new(), true));
    assert_eq!(requests.iter().count(), 0);
}

#[test]
fn an_address_handed_out_again_is_another_request() {
    let mut requests = Requests::default();
    requests.update_sent(at(0), [(7, sent(0, 4))].into_iter());
    requests.update_queue(at(500), DEV, &walk(&[queued(7, 4, None)], true));
    requests.update_sent(at(0), [(7, sent(600, 5))].into_iter());
    let tracked = only(&requests);
    assert_eq!(tracked.start, at(600));
    assert!(!tracked.is_confirmed(at(700), None, false));
}

#[test]
fn a_request_that_a_server_sent_on_names_no_caller() {
    let mut requests = Requests::default();
    let mut sent_on = sent(1_500, 4);
    sent_on.caller = Caller {
        pid: 0,
        tid: 0,
        comm: String::new(),
    };
    requests.update_sent(at(0), [(7, sent_on)].into_iter());
    assert_eq!(only(&requests).caller, None);
}

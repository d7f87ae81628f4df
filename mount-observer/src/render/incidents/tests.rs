use super::*;
use crate::{
    incident::{End, EndReason},
    render::fixture::{self, BEGAN, MINUTE, full_incident},
    superblock::Dev,
};

#[test]
fn a_page_says_all_there_is() {
    insta::assert_snapshot!(page(&full_incident(), Wall(BEGAN.0 + 9 * MINUTE)));
}

#[test]
fn a_page_of_one_that_has_just_begun_is_short() {
    let incident = fixture::incident(BEGAN, Dev(45));
    insta::assert_snapshot!(page(&incident, Wall(BEGAN.0 + MINUTE)));
}

#[test]
fn a_list_has_one_line_for_each_whatever_it_is_called() {
    let mut drill = fixture::incident(Wall(BEGAN.0 + MINUTE), Dev(46));
    drill.is_drill = true;
    let mut unobserved = full_incident();
    let end = End {
        at_unix_ns: BEGAN,
        duration_ns: None,
        why: EndReason::EndedUnobserved,
    };
    unobserved.ended = Some(end);
    let all: Vec<_> = [&drill, &full_incident(), &unobserved]
        .map(Summary::of)
        .into();
    // A clock that was set back an hour since.
    insta::assert_snapshot!(table(&all, Wall(BEGAN.0 - 60 * MINUTE)));
    assert_eq!(
        table(&[], BEGAN),
        "No incident is remembered that matches\n"
    );
}

#[test]
fn what_is_at_risk_is_told_and_so_is_that_nothing_is() {
    assert_eq!(
        at_risk(&full_incident()),
        "20260102T030405.000-0.45: data at risk. Something last succeeded at 2026-01-02 03:03:05; \
         it ended at 2026-01-02 03:08:05.\n\
         /srv/a.gz: WRITE failed with EIO, bytes 4096 to 8191, by wri\\x0ater[12]\n"
    );
    assert_eq!(
        at_risk(&fixture::incident(BEGAN, Dev(45))),
        "20260102T030405.000-0.45: nothing is known to be at risk. When something last succeeded is \
         not known; it goes on.\n"
    );
}

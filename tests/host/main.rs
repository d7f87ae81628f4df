//! The promises of the project, each on a real mount that really breaks, seen from outside through
//! what users see: the log, the snapshot and the metrics.
//!
//! Thresholds are the defaults where a promise names them, and shorter where it is relative to them.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test panics where it fails")]
#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks reads as null"
)]

mod at_risk;
mod cause;
mod command_line;
mod confined;
mod dead;
mod erroring;
mod explain;
mod hung;
mod identity;
mod journal;
mod loss;
mod missing;
mod quiet;
mod recording;
mod recovery;
mod scale;
mod seed_incident;
mod sinks;
mod top;
mod touchless;
mod trace;
mod trace_filters;

use mount_observer_tests::scene::{
    Began, CLEAR_AFTER, FAST, HUNG_AFTER, SOON, call, figures, kinds_reported, outcome, request_of,
    wait_until_all_ok, wait_until_blocked, wait_until_in, wait_until_ok,
};

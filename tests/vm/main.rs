//! What only other kernels can show: each kernel of the matrix runs these beside the host tests
//! (`cargo xtask test vm`). Where a kernel, or this machine, lacks what a test is about, the test says
//! so; `tier` asserts what each kernel of the matrix must not lack.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test panics where it fails")]
#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks reads as null"
)]

mod aborts;
mod attribution;
mod callers;
mod clock;
mod counts;
mod crowd;
mod nfs;
mod nfs_operations;
mod nfs_trace;
mod older;
mod overlay;
mod recordings;
mod tier;
mod trace;

use std::thread;

use mount_observer_tests::{Observer, needs::say, scene::SOON};

/// Whether each of these probes is attached; says which is not.
fn has_probes(observer: &Observer, probes: &[&str]) -> bool {
    let missing: Vec<_> = probes
        .iter()
        .filter(|probe| observer.probe_kind(probe).is_none())
        .map(|probe| format!("{probe} ({})", observer.probe_reason(probe)))
        .collect();
    missing.is_empty() || {
        skip(&format!("not attached here: {}", missing.join(", ")));
        false
    }
}

/// Waits until a mount is watched and healthy.
#[track_caller]
fn wait_until_watched(observer: &Observer, dev: &str) {
    observer.wait_for_state(dev, "ok", SOON);
}

/// Waits until it is told that a mount's server is gone.
#[track_caller]
fn wait_until_dead(observer: &Observer, dev: &str) {
    observer.wait_for_state(dev, "dead", SOON);
}

/// The guest's name (`6.12-smp`); none on a machine that is no guest of ours.
fn guest() -> Option<String> {
    std::env::var("MOUNT_OBSERVER_KERNEL").ok()
}

/// Says that the running test does not test anything here. On a guest that is no omission: what each
/// must have is asserted by `tier`.
fn skip(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("test");
    let word = if guest().is_some() {
        "NOT HERE"
    } else {
        "SKIPPED"
    };
    say(&format!("{word}: {test}: {why}"));
}

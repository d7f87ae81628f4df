//! Waiting for a condition, with a deadline and without guessing how long things take.

use std::time::{Duration, Instant};

/// Between two looks at a condition. Short, because some conditions are timed.
const INTERVAL: Duration = Duration::from_millis(2);

/// What a deadline for something that must come is multiplied by, as a whole number: an emulated
/// machine does everything later than a real one.
const PATIENCE: &str = "MOUNT_OBSERVER_PATIENCE";

/// A deadline as it is on this machine.
pub fn patience(deadline: Duration) -> Duration {
    let factor = std::env::var(PATIENCE).ok();
    deadline * factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// The first `Some` that `look` returns within the deadline.
pub fn poll<T>(deadline: Duration, look: impl FnMut() -> Option<T>) -> Option<T> {
    poll_every(INTERVAL, deadline, look)
}

/// The same for a look that costs something.
pub fn poll_every<T>(
    interval: Duration,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = now() + deadline;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if now() >= end {
            return None;
        }
        pause(interval);
    }
}

/// Like [`poll`], for a condition that must come true, however long this machine takes.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn within<T>(deadline: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    let found = poll(patience(deadline), look);
    assert!(found.is_some(), "not within {deadline:?}: {what}");
    found.expect("just looked")
}

/// The monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "tests measure the observer from outside"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, as time since the epoch.
///
/// # Panics
/// When it is set before 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "tests measure the observer from outside"
)]
pub fn wall() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sleeps, between two looks"
)]
fn pause(interval: Duration) {
    std::thread::sleep(interval);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_even_with_no_time_left() {
        assert_eq!(poll(Duration::ZERO, || Some(1)), Some(1));
        assert_eq!(poll::<()>(Duration::ZERO, || None), None);
    }
}

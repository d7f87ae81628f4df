//! Time as values: nothing in the pure part reads a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mono(pub u64);

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Now {
    /// For ages and thresholds.
    pub mono: Mono,
    /// For people and for other machines.
    pub wall: Wall,
}

impl Mono {
    /// Time from `earlier` to here; zero when `earlier` is later (clocks of different CPUs and of
    /// user space are read at different instants).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `age` before this one; zero when that lies before boot.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Now {
    /// The wall-clock time of a monotonic instant.
    pub fn wall_of(self, at: Mono) -> Wall {
        if at >= self.mono {
            Wall(self.wall.0.saturating_add(at.0 - self.mono.0))
        } else {
            Wall(self.wall.0.saturating_sub(self.mono.0 - at.0))
        }
    }
}

/// Whole nanoseconds of a duration; 584 years at most.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

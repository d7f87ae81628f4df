//! The flight recorder: how much is held in memory, and what is kept of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[record]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// How much is held in memory; nothing when it is 0.
    #[serde(with = "humantime_serde")]
    pub flight: Duration,
    /// Bytes of it at most, packed.
    pub flight_bytes: u64,
    /// How long recording goes on after an alert before that is saved.
    #[serde(with = "humantime_serde")]
    pub flight_after: Duration,
    /// Recordings of incidents that are kept.
    pub keep_files: usize,
    /// Bytes of them.
    pub keep_bytes: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            flight: Duration::from_mins(5),
            flight_bytes: 8 << 20,
            flight_after: Duration::from_secs(10),
            keep_files: 20,
            keep_bytes: 64 << 20,
        }
    }
}

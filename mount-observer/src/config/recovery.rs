//! What may be repaired, and how carefully.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::AlertKind;

/// `[recovery]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// The file without which nothing is done.
    pub enabled_by: String,
    /// Looks that must find the trouble.
    pub confirmations: u32,
    /// Time between two such looks.
    #[serde(with = "humantime_serde")]
    pub confirm_every: Duration,
    /// How long the trouble must have lasted.
    #[serde(with = "humantime_serde")]
    pub min_age: Duration,
    /// Time between two recoveries of one mount.
    #[serde(with = "humantime_serde")]
    pub cooldown: Duration,
    /// Recoveries within an hour, of all mounts.
    pub max_per_hour: u32,
    /// Recoveries within a day, of all mounts.
    pub max_per_day: u32,
    /// Recoveries within a day, of one mount.
    pub max_per_mount_per_day: u32,
    /// Time a step may take.
    #[serde(with = "humantime_serde")]
    pub step_timeout: Duration,
}

/// `[[recover]]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recover {
    /// Where it is mounted.
    pub mount_point: String,
    /// The kinds of trouble that are repaired.
    pub kinds: Vec<AlertKind>,
    /// What is done, in order.
    pub steps: Vec<String>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            dry_run: true,
            enabled_by: "/etc/mount-observer.recovery-enabled".to_owned(),
            confirmations: 2,
            confirm_every: Duration::from_secs(30),
            min_age: Duration::from_mins(2),
            cooldown: Duration::from_mins(15),
            max_per_hour: 2,
            max_per_day: 6,
            max_per_mount_per_day: 3,
            step_timeout: Duration::from_mins(1),
        }
    }
}

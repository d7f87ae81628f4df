//! What the observer says, as a test reads it.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks reads as null"
)]

use std::time::{Duration, Instant};

use serde_json::Value;

/// One line of the log that reports a change of an alert.
#[derive(Clone, Debug)]
pub struct Transition {
    /// When the line arrived here.
    pub at: Instant,
    /// The fields of the line.
    pub fields: Value,
}

impl Transition {
    /// A field of the line as text; empty when it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// Why the alert ended; empty while it fires.
    pub fn resolution(&self) -> &str {
        self.text("resolution")
    }

    /// Whether it reports that this kind of alert on this superblock changed to this.
    pub fn is(&self, superblock: &str, kind: &str, change: &str) -> bool {
        self.text("superblock") == superblock
            && self.text("state") == kind
            && self.text("change") == change
    }
}

/// One superblock of a snapshot, as JSON, and the time since the epoch at which that was known.
#[derive(Clone, Debug)]
pub struct Superblock(pub Value, pub Duration);

impl Superblock {
    /// A field as text; empty when it is absent or no text.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// A field as a number.
    ///
    /// # Panics
    /// When it is absent or no number.
    #[track_caller]
    pub fn number(&self, field: &str) -> u64 {
        self.0[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field} in {}", self.0))
    }

    /// Its state.
    pub fn state(&self) -> &str {
        self.text("state")
    }

    /// A field as a list; empty when it is absent.
    pub fn list(&self, field: &str) -> &[Value] {
        self.0[field].as_array().map_or(&[], Vec::as_slice)
    }

    /// Age of the oldest request in flight.
    pub fn oldest_age(&self) -> Option<Duration> {
        self.0["oldest_request_age_ns"]
            .as_u64()
            .map(Duration::from_nanos)
    }

    /// How often an operation ended with this errno (`None`: success), over all operations when
    /// none is named.
    pub fn count(&self, operation: Option<&str>, errno: Option<&str>) -> u64 {
        self.list("operations")
            .iter()
            .filter(|count| count["errno"].as_str() == errno)
            .filter(|count| operation.is_none_or(|name| count["operation"] == name))
            .filter_map(|count| count["count"].as_u64())
            .sum()
    }

    /// How often path system calls failed with this errno; FUSE operations are written in capitals.
    pub fn failed_calls(&self, errno: &str) -> u64 {
        let is_call = |name: &str| name.starts_with(|first: char| first.is_ascii_lowercase());
        self.list("operations")
            .iter()
            .filter(|count| count["errno"] == errno)
            .filter(|count| count["operation"].as_str().is_some_and(is_call))
            .filter_map(|count| count["count"].as_u64())
            .sum()
    }

    /// Status of the server.
    pub fn server_status(&self) -> &str {
        self.0["fuse"]["server_status"].as_str().unwrap_or_default()
    }

    /// Pids of blocked tasks' processes, as listed.
    pub fn blocked_pids(&self) -> Vec<u64> {
        self.list("blocked_tasks")
            .iter()
            .filter_map(|task| task["pid"].as_u64())
            .collect()
    }
}

/// `0:52` of `0:52#1`.
pub fn device_of_id(id: Option<&str>) -> Option<&str> {
    id?.split('#').next()
}

/// 1 of `0:52#1`, 0 of `0:52`.
pub(super) fn epoch_of_id(id: Option<&str>) -> u32 {
    id.and_then(|id| id.split_once('#')?.1.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_behind_the_hash() {
        assert_eq!(
            (device_of_id(Some("0:52#3")), epoch_of_id(Some("0:52#3"))),
            (Some("0:52"), 3)
        );
        assert_eq!(
            (device_of_id(Some("0:52")), epoch_of_id(Some("0:52"))),
            (Some("0:52"), 0)
        );
    }
}

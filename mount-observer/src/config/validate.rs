//! What the types of a configuration cannot say.

mod sinks;

use std::ops::RangeInclusive;

use globset::Glob;

use super::{
    Config, Detect, Expect, Probes, Record, Recover, Recovery, Scope, Storage, Web,
    keys::{KEYS, Key},
    parse::{ConfigError, Problem, listen_address},
};
use crate::{alert::AlertKind, expected::normal, recovery::Step};

/// From one page, the smallest ring buffer there is, to 64 MiB.
const RING_BYTES: RangeInclusive<u32> = 4096..=64 << 20;

/// From what holds a minute of a quiet host, to 256 MiB.
const FLIGHT_BYTES: RangeInclusive<u64> = 1 << 20..=256 << 20;

/// Less would hold hardly an incident: 1 MiB.
const STORAGE_BYTES_MIN: u64 = 1 << 20;

impl Config {
    /// Checks what types cannot say; `line` knows where a key stands, in the table of that index where
    /// there may be several.
    pub fn validate(&self, line: &LineOf<'_>) -> Result<(), ConfigError> {
        let mut complaints = Complaints {
            line,
            problems: Vec::new(),
        };
        self.web.validate(&mut complaints);
        self.probes.validate(&mut complaints);
        self.scope.validate(&mut complaints);
        self.expect.validate(&mut complaints);
        self.storage.validate(&mut complaints);
        self.record.validate(&mut complaints);
        self.detect.validate(&mut complaints);
        self.recovery.validate(&mut complaints);
        if !self.recover.is_empty() && !self.recovery.dry_run && self.storage.path.is_empty() {
            let what = "must not be empty where mounts are repaired: the caps need a memory";
            complaints.add("storage", "path", what);
        }
        for (index, recover) in self.recover.iter().enumerate() {
            recover.validate(index, &mut complaints);
        }
        if self.metrics.max_superblocks == 0 {
            complaints.add("metrics", "max_superblocks", "must be 1 or more");
        }
        self.validate_sinks(&mut complaints);
        if complaints.problems.is_empty() {
            Ok(())
        } else {
            let mut problems = complaints.problems;
            problems.sort_by_key(|problem| problem.line);
            Err(ConfigError { problems })
        }
    }
}

/// Where a key stands: its line, in the table of that index where there may be several.
type LineOf<'a> = dyn Fn(&Key, usize) -> Option<usize> + 'a;

/// What validation found so far.
struct Complaints<'a> {
    line: &'a LineOf<'a>,
    problems: Vec<Problem>,
}

impl Complaints<'_> {
    fn add(&mut self, section: &str, name: &str, what: &str) {
        self.add_to(section, 0, name, what);
    }

    /// The same for one of several tables.
    fn add_to(&mut self, section: &str, index: usize, name: &str, what: &str) {
        let key = KEYS
            .iter()
            .find(|key| key.section == section && key.name == name);
        self.problems.push(Problem {
            line: key.and_then(|key| (self.line)(key, index)),
            message: format!("{section}.{name} {what}"),
        });
    }
}

impl Web {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        if listen_address(&self.listen_address).is_none() {
            let takes = takes("web", "listen_address");
            complaints.add("web", "listen_address", &format!("must be {takes}"));
        }
    }
}

impl Probes {
    fn validate(self, complaints: &mut Complaints<'_>) {
        if !RING_BYTES.contains(&self.ring_bytes) {
            let takes = takes("probes", "ring_bytes");
            complaints.add("probes", "ring_bytes", &format!("must be {takes}"));
        }
    }
}

impl Scope {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        for (name, patterns) in [
            ("include_fstypes", &self.include_fstypes),
            ("exclude_fstypes", &self.exclude_fstypes),
            ("include_mount_points", &self.include_mount_points),
            ("exclude_mount_points", &self.exclude_mount_points),
            ("include_sources", &self.include_sources),
            ("exclude_sources", &self.exclude_sources),
        ] {
            for pattern in patterns {
                if let Err(error) = Glob::new(pattern) {
                    let what = format!("has a bad pattern {pattern:?}: {}", error.kind());
                    complaints.add("scope", name, &what);
                }
            }
        }
    }
}

/// What the programs have room for: a test compares.
const EXPECTED_MAX: usize = 64;

impl Expect {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        if self.mount_points.len() > EXPECTED_MAX {
            complaints.add(
                "expect",
                "mount_points",
                &format!("may name {EXPECTED_MAX} at most"),
            );
        }
        for path in &self.mount_points {
            if !path.starts_with('/') {
                let what = format!("must be a list of absolute paths, not {path:?}");
                complaints.add("expect", "mount_points", &what);
            }
        }
    }
}

impl Storage {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        if !self.path.is_empty() && !self.path.starts_with('/') {
            let what = format!("must be an absolute path, not {:?}", self.path);
            complaints.add("storage", "path", &what);
        }
        if self.max_age.is_zero() {
            complaints.add("storage", "max_age", "must be more than \"0s\"");
        }
        if self.max_bytes < STORAGE_BYTES_MIN {
            let takes = takes("storage", "max_bytes");
            complaints.add("storage", "max_bytes", &format!("must be {takes}"));
        }
    }
}

impl Record {
    fn validate(self, complaints: &mut Complaints<'_>) {
        let mut complain = |name| {
            complaints.add(
                "record",
                name,
                &format!("must be {}", takes("record", name)),
            );
        };
        if !FLIGHT_BYTES.contains(&self.flight_bytes) {
            complain("flight_bytes");
        }
        if self.keep_files == 0 {
            complain("keep_files");
        }
        if self.keep_bytes < STORAGE_BYTES_MIN {
            complain("keep_bytes");
        }
    }
}

impl Detect {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        for (name, duration) in [
            ("hung_after", self.hung_after),
            ("storm_window", self.storm_window),
            ("slow_p99", self.slow_p99),
            ("slow_window", self.slow_window),
        ] {
            if duration.is_zero() {
                complaints.add("detect", name, "must be more than \"0s\"");
            }
        }
        let (critical, warning) = (self.hung_critical_after, self.hung_after);
        if critical < warning {
            let what = format!("({critical:?}) must not be below detect.hung_after ({warning:?})");
            complaints.add("detect", "hung_critical_after", &what);
        }
        for (name, count) in [
            ("storm_errors", self.storm_errors),
            ("slow_min_samples", self.slow_min_samples),
        ] {
            if count == 0 {
                complaints.add("detect", name, "must be 1 or more");
            }
        }
    }
}

impl Recovery {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        if !self.enabled_by.starts_with('/') {
            let what = format!("must be an absolute path, not {:?}", self.enabled_by);
            complaints.add("recovery", "enabled_by", &what);
        }
        for (name, count) in [
            ("confirmations", self.confirmations),
            ("max_per_hour", self.max_per_hour),
            ("max_per_day", self.max_per_day),
            ("max_per_mount_per_day", self.max_per_mount_per_day),
        ] {
            if count == 0 {
                complaints.add("recovery", name, "must be 1 or more");
            }
        }
        if self.step_timeout.is_zero() {
            complaints.add("recovery", "step_timeout", "must be more than \"0s\"");
        }
    }
}

impl Recover {
    fn validate(&self, index: usize, complaints: &mut Complaints<'_>) {
        let mut complain = |name, what: &str| complaints.add_to("recover", index, name, what);
        let path = &self.mount_point;
        if !path.starts_with('/') || path.trim_end_matches('/').is_empty() {
            let takes = takes("recover", "mount_point");
            complain("mount_point", &format!("must be {takes}, not {path:?}"));
        } else if normal(path) != *path {
            let normal = normal(path);
            complain(
                "mount_point",
                &format!("must be written as mountinfo does: {normal:?}"),
            );
        }
        let is_allowed = |kind: &AlertKind| matches!(kind, AlertKind::Dead | AlertKind::Hung);
        if self.kinds.is_empty() || !self.kinds.iter().all(is_allowed) {
            let takes = takes("recover", "kinds");
            complain("kinds", &format!("must be {takes}"));
        }
        if self.steps.is_empty() {
            complain("steps", "must name at least one step");
        }
        for step in &self.steps {
            if let Err(error) = step.parse::<Step>() {
                complain("steps", &error.to_string());
            }
        }
    }
}

fn takes(section: &str, name: &str) -> &'static str {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
        .map_or("", |key| key.takes)
}

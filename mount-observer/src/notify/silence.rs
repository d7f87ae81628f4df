//! Silences: mount points about which the sinks are not told for a while.

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Notice;
use crate::time::Wall;

/// Silences that count at the same time; more are refused when they are made.
pub const SILENCES_MAX: usize = 256;

/// Why a silence is none.
#[derive(Debug, Error)]
pub enum SilenceError {
    /// The pattern.
    #[error("{0:?} is no pattern of mount points")]
    Pattern(String, #[source] globset::Error),
}

/// A silence, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its name, a short word.
    pub id: String,
    /// Pattern of the mount points.
    pub mount: String,
    /// From when on.
    pub created_unix_ns: Wall,
    /// Until when.
    pub ends_unix_ns: Wall,
    /// Why, in the words of whoever made it.
    #[serde(default)]
    pub reason: String,
}

impl Silence {
    /// Whether it counts.
    pub fn is_active(&self, now: Wall) -> bool {
        now < self.ends_unix_ns
    }

    /// The pattern, compiled.
    pub fn matcher(&self) -> Result<GlobMatcher, SilenceError> {
        let glob = Glob::new(&self.mount);
        let glob = glob.map_err(|error| SilenceError::Pattern(self.mount.clone(), error))?;
        Ok(glob.compile_matcher())
    }
}

/// Every silence there is.
#[derive(Clone, Debug, Default)]
pub struct Silences(Vec<(Silence, GlobMatcher)>);

impl Silences {
    /// Takes the stored ones, [`SILENCES_MAX`] at most; one with a pattern that is none silences
    /// nothing.
    pub fn new(stored: Vec<Silence>) -> Self {
        let compiled = stored.into_iter().filter_map(|silence| {
            let matcher = silence.matcher().ok()?;
            Some((silence, matcher))
        });
        Self(compiled.take(SILENCES_MAX).collect())
    }

    /// The one that keeps a notice from the sinks.
    pub fn of(&self, notice: &Notice, now: Wall) -> Option<&Silence> {
        let mut active = self.0.iter().filter(|(silence, _)| silence.is_active(now));
        let covers = |matcher: &GlobMatcher| {
            let mut points = notice.mount_points.iter().chain([&notice.mountpoint]);
            points.any(|point| matcher.is_match(point))
        };
        active.find_map(|(silence, matcher)| covers(matcher).then_some(silence))
    }

    /// Those that count now.
    pub fn active(&self, now: Wall) -> impl Iterator<Item = &Silence> {
        let all = self.0.iter().map(|(silence, _)| silence);
        all.filter(move |silence| silence.is_active(now))
    }
}

//! What a recording says about itself before anything else: all that a replay needs besides the inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layout;
use crate::{
    config::{Config, Detect, Expect, Recover, Recovery, Scope},
    input::{BootId, SelfInfo},
    plan::KernelFacts,
    time::{Mono, Now, Wall},
    trace,
};

/// The version of the format. What only adds fields or kinds of entries leaves it as it is.
pub const FORMAT: u32 = 1;

/// The header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The program that wrote it, by version.
    pub program: String,
    /// When recording began, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// The same on the monotonic clock.
    pub started_monotonic_ns: u64,
    /// The boot.
    boot: String,
    is_initial_pid_namespace: bool,
    is_single_look: bool,
    /// What was decided by.
    pub decisive: Decisive,
    /// The kernel, for people and for questions; `None` where this version cannot read it.
    #[serde(default, deserialize_with = "if_readable")]
    pub kernel: Option<KernelFacts>,
    /// What was traced, if the session was a trace.
    #[serde(default)]
    pub trace: Option<trace::Options>,
    /// Sizes of the kernel side's types.
    layouts: BTreeMap<String, u32>,
    /// Bytes of each segment of a file that is a ring; 0 where it is none.
    #[serde(default)]
    pub segment_bytes: u64,
    /// Segments of a ring.
    #[serde(default)]
    pub segments: u32,
}

/// The parts of the configuration that decide. Never those that say whom to tell: they hold secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decisive {
    /// `[scope]`
    pub scope: Scope,
    /// `[expect]`
    pub expect: Expect,
    /// `[detect]`
    pub detect: Detect,
    /// `[recovery]`
    pub recovery: Recovery,
    /// `[[recover]]`
    pub recover: Vec<Recover>,
}

impl Decisive {
    /// Of a whole configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            scope: config.scope.clone(),
            expect: config.expect.clone(),
            detect: config.detect,
            recovery: config.recovery.clone(),
            recover: config.recover.clone(),
        }
    }

    /// A configuration with these parts and defaults for the rest.
    pub fn config(&self) -> Config {
        Config {
            scope: self.scope.clone(),
            expect: self.expect.clone(),
            detect: self.detect,
            recovery: self.recovery.clone(),
            recover: self.recover.clone(),
            ..Config::default()
        }
    }
}

impl Header {
    /// Of a recording that begins now.
    pub fn new(now: Now, program: &str, info: SelfInfo, config: &Config) -> Self {
        Self {
            format: FORMAT,
            program: program.to_owned(),
            started_unix_ns: now.wall.0,
            started_monotonic_ns: now.mono.0,
            boot: info.boot.to_string(),
            is_initial_pid_namespace: info.is_initial_pid_namespace,
            is_single_look: info.is_single_look,
            decisive: Decisive::of(config),
            kernel: None,
            trace: None,
            layouts: layout::sizes(),
            segment_bytes: 0,
            segments: 0,
        }
    }

    /// Of a machine with this kernel.
    #[must_use]
    pub fn with_kernel(mut self, facts: &KernelFacts) -> Self {
        self.kernel = Some(facts.clone());
        self
    }

    /// Of a trace.
    #[must_use]
    pub fn with_trace(mut self, options: trace::Options) -> Self {
        self.trace = Some(options);
        self
    }

    /// What the observer knew about itself.
    pub fn self_info(&self) -> SelfInfo {
        SelfInfo {
            boot: BootId::parse(&self.boot).unwrap_or_default(),
            is_initial_pid_namespace: self.is_initial_pid_namespace,
            is_single_look: self.is_single_look,
        }
    }

    /// When recording began.
    pub fn started(&self) -> Now {
        Now {
            mono: Mono(self.started_monotonic_ns),
            wall: Wall(self.started_unix_ns),
        }
    }

    /// Whether records and rows are of the sizes that this version expects.
    pub(super) fn is_of_today(&self) -> bool {
        self.layouts == layout::sizes()
    }
}

/// Facts of a later version may hold what this one does not know: nothing depends on them.
fn if_readable<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<KernelFacts>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Maybe {
        Facts(Box<KernelFacts>),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Maybe::deserialize(deserializer)? {
        Maybe::Facts(facts) => Some(*facts),
        Maybe::Other(_) => None,
    })
}

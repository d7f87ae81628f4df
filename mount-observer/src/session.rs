//! The observer, and beside it a trace if there is one: what live, replay and tests feed.

use std::sync::Arc;

use crate::{
    config::Config,
    input::{Effect, Input},
    observer::Observer,
    scope::ScopeError,
    snapshot::Snapshot,
    time::{Mono, Now},
    trace::{Line, Tracer},
};

/// Everything that is decided of the inputs.
#[derive(Debug)]
pub struct Session {
    observer: Observer,
    tracer: Option<Box<Tracer>>,
}

impl Session {
    /// Without a trace: its records are ignored.
    pub fn new(observer: Observer) -> Self {
        Self {
            observer,
            tracer: None,
        }
    }

    /// With a trace.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(Box::new(tracer));
        self
    }

    /// Takes one input; says what to do about it ([`Observer::step`]).
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let Some(tracer) = &mut self.tracer else {
            return self.observer.step(now, input);
        };
        if tracer.takes(now, &input, &self.observer) {
            return Vec::new();
        }
        let looks = tracer.looks_after(&input);
        let effects = self.observer.step(now, input);
        tracer.follow(&self.observer, &effects, looks);
        effects
    }

    /// Takes one input that was learnt before the session began, and still stood then.
    pub fn remember(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let effects = self.step(now, input);
        if let Some(tracer) = &mut self.tracer {
            tracer.begin_after_this();
        }
        effects
    }

    /// What the trace has to show since the last call, in order.
    pub fn take_lines(&mut self) -> Vec<Line> {
        self.tracer
            .as_mut()
            .map(|tracer| tracer.take_lines())
            .unwrap_or_default()
    }

    /// The trace, if there is one.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_deref()
    }

    /// The observer.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Takes new settings ([`Observer::reconfigure`]).
    pub fn reconfigure(&mut self, config: &Config) -> Result<Vec<Effect>, ScopeError> {
        self.observer.reconfigure(config)
    }

    /// See [`Observer::is_due`].
    pub fn is_due(&self, ticked: Mono, now: Mono) -> bool {
        self.observer.is_due(ticked, now)
    }

    /// See [`Observer::shows_fuse`].
    pub fn shows_fuse(&self) -> bool {
        self.observer.shows_fuse()
    }

    /// What was known at the last tick.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.observer.snapshot()
    }
}

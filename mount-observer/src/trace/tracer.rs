//! Turns the inputs of the observer into the lines of a trace.

use serde::{Deserialize, Serialize};

use crate::{
    input::{Effect, Input},
    observer::Observer,
    time::Now,
};

use super::{Filter, FilterError, Line, Matcher};

/// What a trace is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What it shows.
    pub filter: Filter,
}

/// A trace.
#[derive(Debug)]
pub struct Tracer {
    matcher: Matcher,
    lines: Vec<Line>,
}

impl Tracer {
    /// A trace that has seen nothing yet.
    pub fn new(options: &Options) -> Result<Self, FilterError> {
        Ok(Self {
            matcher: Matcher::new(&options.filter)?,
            lines: Vec::new(),
        })
    }

    /// What it shows.
    pub fn filter(&self) -> &Filter {
        self.matcher.filter()
    }

    /// Takes an input that is for the trace alone; false for what is the observer's.
    pub fn takes(&mut self, _now: Now, _input: &Input, _observer: &Observer) -> bool {
        false
    }

    /// Whether what is known of operations that have not ended is another after this input.
    pub fn looks_after(&self, input: &Input) -> bool {
        matches!(
            input,
            Input::InFlight(_) | Input::Holders(_) | Input::Tasks { .. } | Input::Tick
        )
    }

    /// Takes what the observer made of an input that was its own.
    pub fn follow(&mut self, _now: Now, _observer: &Observer, effects: &[Effect], _looks: bool) {
        for effect in effects {
            if let Effect::Transition(transition) = effect {
                self.lines.push(Line::Alert(transition.clone()));
            }
        }
    }

    /// What there is to show since the last call, in order.
    pub fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}

//! The sinks: whoever is told of alerts besides the log, and whoever gets the metrics besides those
//! who fetch them.
//!
//! Each has a thread of its own that may wait for a disk, a name, a receiver or a command; none of
//! them can hold up another, or the loop. What waits for a sink is bounded, and what does not fit is
//! counted.
//!
//! Two kinds of promise. Syslog, webhooks and commands are told of *events*: each change once, in
//! order, tried again until it was taken or `give_up_after` has passed, the latest 256 of them.
//! Alertmanager, node exporter and the Pushgateway are given the *state*: after an outage, however
//! long, they get what is so now, and Alertmanager the ends of what it was told of.

mod alertmanager;
mod client;
mod counters;
mod drill;
mod exec;
mod grants;
mod metrics;
mod open;
mod place;
mod pushgateway;
mod queue;
mod syslog;
mod textfile;
mod webhook;

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use self::{
    alertmanager::{Board, Style},
    metrics::Nudge,
    queue::Queue,
};
use super::clock;
use crate::{
    alert::Transition,
    config::Config,
    notify::{Delivery, Notice, Origin, Route, Router, Silences, Told},
    scope::ScopeError,
    time::Now,
};

pub(in crate::daemon) use self::client::receiver;
pub(super) use self::grants::grants;
pub use self::{
    counters::Tally,
    drill::{Rehearsed, rehearse},
    metrics::{Form, Source},
    open::{Opened, needs_hand},
};

/// Why a sink cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file that the configuration names.
    #[error("cannot read {path}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What a file holds.
    #[error("{0} {1}")]
    Content(String, &'static str),
    /// A template.
    #[error("{0} is no template of a notice: {1}")]
    Template(String, String),
    /// A pattern.
    #[error("bad pattern")]
    Pattern(#[from] globset::Error),
    /// The scope.
    #[error("bad scope")]
    Scope(#[from] ScopeError),
    /// No thread, or no process for commands.
    #[error("cannot start {0}")]
    Start(&'static str, #[source] io::Error),
}

/// Why a sink did not take something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// Another attempt may do.
    Retry(String),
    /// None will.
    Refused(String),
}

/// Tells a receiver of one event, and waits until it was taken.
trait Deliver: Send {
    fn deliver(&mut self, notice: &Notice) -> Result<(), Failure>;
}

/// What is behind a route.
#[derive(Debug)]
enum Outlet {
    Events(Arc<Queue>),
    State(Vec<Arc<Board>>),
}

/// Every sink, as the loop has them: nothing here waits.
#[derive(Debug)]
pub struct Sinks {
    router: Router,
    outlets: Vec<Outlet>,
    nudges: Vec<Arc<Nudge>>,
    origin: Origin,
    tally: Arc<Tally>,
}

impl Sinks {
    /// Starts the threads.
    pub fn start(opened: Opened, config: &Config, metrics: &Source) -> Result<Self, SinkError> {
        let origin = Origin {
            host: opened.host.clone(),
            is_drill: false,
        };
        let tally = opened.tally();
        let thread = |error| SinkError::Start("the thread of a sink", error);
        let mut outlets = Vec::new();
        for one in opened.told {
            let counters = tally.of(&one.name);
            outlets.push(match one.to {
                open::To::Events(deliver, give_up_after) => Outlet::Events(
                    Queue::start(&one.name, counters, give_up_after, deliver).map_err(thread)?,
                ),
                open::To::State(peers, config) => {
                    let style = Style::of(&config, &origin.host, &opened.listen_address);
                    let boards = peers.into_iter().map(|peer| {
                        let counters = Arc::clone(&counters);
                        Board::start(&one.name, counters, &config, style.clone(), peer)
                    });
                    Outlet::State(boards.collect::<io::Result<_>>().map_err(thread)?)
                }
            });
        }
        let nudges = opened.metrics.into_iter().map(|one| {
            let counters = tally.of(&one.name);
            let source = Arc::clone(metrics);
            Nudge::start(&one.name, counters, one.interval, one.form, source, one.to)
        });
        Ok(Self {
            router: Router::new(Route::all(config)?),
            outlets,
            nudges: nudges.collect::<io::Result<_>>().map_err(thread)?,
            origin,
            tally,
        })
    }

    /// Passes on changes of alerts; `summary` is what was counted.
    pub fn tell(&mut self, now: Now, summary: &str, transitions: &[Transition]) {
        for transition in transitions {
            let notice = Notice::new(&self.origin, now.wall, summary, transition);
            let told = self.router.take(now, notice);
            self.hand_out(told);
        }
        if !transitions.is_empty() {
            self.nudges.iter().for_each(|nudge| nudge.nudge());
        }
    }

    /// Passes on what only time changes.
    pub fn tick(&mut self, now: Now) {
        let told = self.router.tick(now);
        self.hand_out(told);
        let (by_silence, by_cause) = self.router.kept_back();
        self.tally.silenced.store(by_silence, Ordering::Relaxed);
        self.tally.explained.store(by_cause, Ordering::Relaxed);
        let active = self.router.silences().active(now.wall).count();
        let active = u64::try_from(active).unwrap_or(u64::MAX);
        self.tally.silences.store(active, Ordering::Relaxed);
    }

    /// Goes on with other silences.
    pub fn set_silences(&mut self, silences: Silences) {
        self.router.set_silences(silences);
    }

    /// Goes on with other routes. Whatever else changed needs a restart, and is said to.
    pub fn reconfigure(&mut self, old: &Config, new: &Config) {
        if open::without_routes(old) != open::without_routes(new) {
            tracing::warn!(
                "a change of [[syslog]], [[alertmanager]], [[webhook]], [[exec]], [[textfile]] or \
                 [[pushgateway]] needs a restart, but for what each is told of"
            );
            return;
        }
        match Route::all(new) {
            Ok(routes) => self.router.set_routes(routes),
            Err(error) => tracing::error!(%error, "the old routes stay in force"),
        }
    }

    /// Lets the threads end. What waits is delivered, for so long at most; what is left is counted in
    /// the log.
    pub fn end(&self, patience: Duration) {
        let begun = clock::now().mono;
        for outlet in &self.outlets {
            let left = || patience.saturating_sub(clock::now().mono.since(begun));
            let is_done = match outlet {
                Outlet::Events(queue) => queue.drain(left()),
                Outlet::State(boards) => boards.iter().all(|board| board.drain(left())),
            };
            if !is_done {
                tracing::warn!("a sink was not told everything before the end");
            }
        }
        for outlet in &self.outlets {
            match outlet {
                Outlet::Events(queue) => queue.close(),
                Outlet::State(boards) => boards.iter().for_each(|board| board.close()),
            }
        }
        self.nudges.iter().for_each(|nudge| nudge.close());
    }

    fn hand_out(&self, told: Told) {
        for hidden in told.hidden {
            let notice = hidden.notice;
            tracing::info!(
                kind = notice.kind.name(),
                mountpoint = notice.mountpoint,
                incident = %notice.incident,
                why = hidden.why,
                "an alert is kept from the sinks"
            );
        }
        for Delivery { sink, notice } in told.deliveries {
            match self.outlets.get(sink) {
                Some(Outlet::Events(queue)) => queue.add(notice),
                Some(Outlet::State(boards)) => boards.iter().for_each(|board| board.add(&notice)),
                None => {}
            }
        }
    }
}

//! What sinks need before the observer confines itself: their files read, the hand started.

use std::{sync::Arc, time::Duration};

use super::{
    Deliver, SinkError,
    alertmanager::Peer,
    counters::Tally,
    exec::Exec,
    metrics::{Form, WriteMetrics},
    place::Place,
    pushgateway::Pushgateway,
    syslog::Syslog,
    textfile::Textfile,
    webhook::Webhook,
};
use crate::{
    config::{self, Config},
    daemon::hand::Hand,
    scope::Scope,
};

/// Sinks without threads.
pub struct Opened {
    pub(super) host: String,
    pub(super) listen_address: String,
    /// In the order of the routes.
    pub(super) told: Vec<Told>,
    pub(super) metrics: Vec<Metrics>,
    pub(super) tally: Arc<Tally>,
}

/// A sink that is told of alerts.
pub(super) struct Told {
    pub(super) name: String,
    pub(super) to: To,
}

pub(super) enum To {
    Events(Box<dyn Deliver>, Duration),
    State(Vec<Peer>, Box<config::Alertmanager>),
}

/// A sink that gets the metrics.
pub(super) struct Metrics {
    pub(super) name: String,
    pub(super) interval: Duration,
    pub(super) form: Form,
    pub(super) to: Box<dyn WriteMetrics>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl Opened {
    /// Reads their files. `hand` runs the commands there are.
    pub fn new(config: &Config, hand: Option<&Hand>) -> Result<Self, SinkError> {
        let place = Place::new(Scope::new(&config.scope)?);
        let host = host();
        let all_names = config.sink_names();
        let names = |section: &'static str| {
            let of_section = all_names.iter().filter(move |(of, _, _)| *of == section);
            of_section.map(|&(_, _, name)| name.to_owned())
        };
        let mut told = Vec::new();
        for (name, sink) in names("syslog").zip(&config.syslog) {
            let to = To::Events(Box::new(Syslog::new(sink)), sink.give_up_after);
            told.push(Told { name, to });
        }
        for (name, sink) in names("alertmanager").zip(&config.alertmanager) {
            let to = To::State(Peer::all(sink, &place)?, Box::new(sink.clone()));
            told.push(Told { name, to });
        }
        for (name, sink) in names("webhook").zip(&config.webhook) {
            let to = To::Events(Box::new(Webhook::new(sink, &place)?), sink.give_up_after);
            told.push(Told { name, to });
        }
        for (name, sink) in names("exec").zip(&config.exec) {
            let hand = hand.cloned().ok_or_else(no_hand)?;
            let to = To::Events(Box::new(Exec::new(sink, hand)), sink.give_up_after);
            told.push(Told { name, to });
        }
        let mut metrics = Vec::new();
        for (name, sink) in names("textfile").zip(&config.textfile) {
            let to = Box::new(Textfile::new(&sink.directory, place.clone()));
            metrics.push(Metrics {
                name,
                interval: sink.interval,
                form: Form::Collector,
                to,
            });
        }
        for (name, sink) in names("pushgateway").zip(&config.pushgateway) {
            let to = Box::new(Pushgateway::new(sink, &host, &place)?);
            metrics.push(Metrics {
                name,
                interval: sink.interval,
                form: Form::Push,
                to,
            });
        }
        Ok(Self {
            host,
            listen_address: config.web.listen_address.clone(),
            told,
            metrics,
            tally: Arc::new(Tally {
                sinks: all_names
                    .iter()
                    .map(|&(_, _, name)| (name.to_owned(), Arc::default()))
                    .collect(),
                ..Tally::default()
            }),
        })
    }

    /// What becomes of what they are told.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}

/// Whether some sink needs a hand.
pub fn needs_hand(config: &Config) -> bool {
    !config.exec.is_empty()
}

fn no_hand() -> SinkError {
    let error = std::io::Error::other("it was not started");
    SinkError::Start("the process that runs commands", error)
}

/// The machine's name (uname(2)).
pub(super) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Everything about sinks but what each is told of.
pub(super) fn without_routes(config: &Config) -> Config {
    let mut bare = Config {
        syslog: config.syslog.clone(),
        alertmanager: config.alertmanager.clone(),
        webhook: config.webhook.clone(),
        exec: config.exec.clone(),
        textfile: config.textfile.clone(),
        pushgateway: config.pushgateway.clone(),
        ..Config::default()
    };
    macro_rules! forget_routes {
        ($($sinks:ident),*) => {$(
            for sink in &mut bare.$sinks {
                sink.kinds.clear();
                sink.min_severity = crate::alert::Severity::Warning;
                sink.mount_points.clear();
            }
        )*};
    }
    forget_routes!(syslog, alertmanager, webhook, exec);
    bare
}

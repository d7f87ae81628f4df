//! The log: one line per event to standard error, or one datagram with fields to journald.
//!
//! Nothing that logs ever waits: entries go through a bounded queue to a thread of their own, and
//! what does not fit is counted. A log that blocks (a full pipe, a journald whose disk hangs) must
//! not stop the observer.

mod entry;
mod journal;
mod sink;

use std::{
    io::IsTerminal as _,
    sync::{Arc, atomic::AtomicU64},
};

use rustix::fs::fstat;
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, layer::Context, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::{
    entry::Entry,
    sink::{Output, Sink},
};
use crate::{
    alert::{Change, Severity, Transition},
    config::{Log, LogFormat, LogLevel},
    daemon::clock,
    render::{
        alert_line::{self, alert_line},
        escape::escaped,
    },
    text::append,
};

/// Target of the events that are alerts: their message says everything their fields do.
const ALERT_TARGET: &str = "mount_observer::alert";

/// Keeps the log going; what is queued is written when it drops, for a moment at most.
#[derive(Debug)]
pub struct LogGuard {
    sink: Sink,
}

impl LogGuard {
    /// Entries that did not fit so far.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.sink.dropped()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.sink.flush();
    }
}

/// Starts logging.
pub fn start(config: &Log) -> LogGuard {
    let (encoding, output) = match config.format {
        LogFormat::Auto => journal_or_text(),
        LogFormat::Text => (Encoding::text(), Output::Stderr),
        LogFormat::Json => (Encoding::Json, Output::Stderr),
    };
    let sink = Sink::start(output);
    let layer = LogLayer {
        encoding,
        sink: sink.clone(),
    };
    let level = level_filter(config.level);
    let others = level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(others)
        .with_target("mount_observer", level)
        .with_target("aya_log", LevelFilter::TRACE);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets));
    if subscriber.try_init().is_err() {
        // Only tests start a second log in one process; the first one stays.
        tracing::debug!("a log is already running");
    }
    LogGuard { sink }
}

/// Logs an alert's transition: critical as an error, the end of one as information.
pub fn transition(transition: &Transition) {
    let line = alert_line(transition);
    let victims = alert_line::victims(&transition.victims, transition.victims_total);
    let age_seconds = std::time::Duration::from_nanos(transition.age_ns).as_secs_f64();
    let (change, resolution) = match transition.change {
        Change::Firing => ("firing", ""),
        Change::Resolved { why } => ("resolved", alert_line::resolution(why)),
    };
    let severity = match transition.severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                target: ALERT_TARGET,
                $level,
                state = transition.kind.name(),
                change,
                severity,
                superblock = alert_line::superblock(transition),
                incident = transition.incident.as_str(),
                returns = transition.returns,
                mountpoint = transition.mountpoint,
                fstype = transition.fstype,
                device = transition.device,
                reason = transition.reason,
                resolution,
                age_seconds,
                evidence = transition.evidence.join("; "),
                victims,
                victims_total = transition.victims_total,
                advice = transition.advice,
                "{line}"
            )
        };
    }
    match (transition.change, transition.severity) {
        (Change::Firing, Severity::Critical) => log!(tracing::Level::ERROR),
        (Change::Firing, Severity::Warning) => log!(tracing::Level::WARN),
        (Change::Resolved { .. }, _) => log!(tracing::Level::INFO),
    }
}

/// Logs what was counted, and what failed, in the words that monitors of mounts have always used.
pub fn summary(transitions: &[Transition], summary: &str) {
    let mut line = String::new();
    for transition in transitions {
        if transition.change == Change::Firing {
            let mountpoint = escaped(&transition.mountpoint);
            append(
                &mut line,
                format_args!("Mount failed health-check: {mountpoint}; "),
            );
        }
    }
    tracing::info!("{line}{summary}");
}

/// How an entry becomes bytes.
#[derive(Clone, Copy, Debug)]
enum Encoding {
    Text { is_coloured: bool },
    Json,
    Journal,
}

impl Encoding {
    fn text() -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::Text {
            is_coloured: !is_refused && std::io::stderr().is_terminal(),
        }
    }
}

/// Journald when systemd connected standard error to it (`JOURNAL_STREAM`, systemd.exec(5)).
fn journal_or_text() -> (Encoding, Output) {
    let is_journal = std::env::var("JOURNAL_STREAM").is_ok_and(|stream| {
        fstat(std::io::stderr())
            .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
    });
    if is_journal && let Ok(socket) = journal::connect() {
        return (Encoding::Journal, Output::Journal(socket));
    }
    (Encoding::text(), Output::Stderr)
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Hands every event to the sink.
#[derive(Debug)]
struct LogLayer {
    encoding: Encoding,
    sink: Sink,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let entry = Entry::of(event, clock::now().wall);
        self.sink.send(match self.encoding {
            Encoding::Text { is_coloured } => entry.text(is_coloured),
            Encoding::Json => entry.json(),
            Encoding::Journal => journal::encode(&entry),
        });
    }
}

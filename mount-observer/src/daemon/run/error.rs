//! Why the daemon did not start, or ended.

use std::io;

use crate::{
    daemon::{
        confine::ConfineError, http::HttpError, kernel::LoadError, record::RecordError,
        sink::SinkError,
    },
    scope::ScopeError,
    trace::FilterError,
};

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The kernel side.
    #[error(
        "cannot start the kernel side (`mount-observer check` tells all that is missing, and the remedies)"
    )]
    Load(#[from] LoadError),
    /// Something of the system the daemon cannot do without.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    /// The thread that watches the mount table ended.
    #[error("changes of the mount table are no longer seen")]
    TableLost,
    /// A process for commands and recoveries.
    #[error("cannot start a process for commands and recoveries")]
    Hand(#[source] io::Error),
    /// What was required could not be given up.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The configured scope.
    #[error("bad scope")]
    Scope(#[from] ScopeError),
    /// The filter of a trace.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A sink.
    #[error("cannot use a sink")]
    Sink(#[from] SinkError),
    /// The recording that was asked for.
    #[error("cannot record")]
    Record(#[from] RecordError),
    /// It ended early.
    #[error("{0}")]
    Recording(String),
    /// A defect of ours: a job ended without an answer.
    #[error("a background job failed")]
    Job(#[source] tokio::task::JoinError),
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

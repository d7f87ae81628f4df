//! The HTTP side: renders what the loop published, on a thread of its own, so that neither a slow
//! client nor a large scrape can hold up the loop.

mod collector;
mod incidents;
mod listener;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder};
use tokio::sync::watch;

use self::{collector::SnapshotCollector, listener::BoundedListener};
use crate::{
    daemon::{
        clock, process,
        sink::{Form, Tally},
        store::Journal,
    },
    render::{
        self,
        metrics::{SelfReport, StorageReport},
    },
    snapshot::Snapshot,
    time::Wall,
};

/// Without progress of the loop for this long, the observer is not healthy.
const HEARTBEAT_AGE_MAX_NS: u64 = 10_000_000_000;

/// Why there is no HTTP listener.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {remedy}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What to do about it.
        remedy: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No thread or no runtime.
    #[error("cannot start the HTTP thread")]
    Start(#[source] io::Error),
}

/// What the loop shows to HTTP. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    superblocks_max: watch::Receiver<usize>,
    heartbeats: Arc<Heartbeats>,
    log_dropped: Arc<AtomicU64>,
    sinks: Arc<Tally>,
    incidents: incidents::Source,
}

/// When each loop last made progress, ns since the epoch; 0 before the first time.
#[derive(Debug, Default)]
pub struct Heartbeats {
    /// The loop that observes.
    pub observe: AtomicU64,
    /// The thread that waits for changes of the mount table.
    pub mountinfo: AtomicU64,
    /// The last drain of the ring buffer.
    pub ring: AtomicU64,
}

impl Heartbeats {
    /// Notes progress.
    pub fn beat(of: &AtomicU64, at: Wall) {
        of.store(at.0, Ordering::Relaxed);
    }

    fn all(&self) -> Vec<(&'static str, Wall)> {
        [
            ("observe", &self.observe),
            ("mountinfo", &self.mountinfo),
            ("ring", &self.ring),
        ]
        .map(|(name, at)| (name, Wall(at.load(Ordering::Relaxed))))
        .into()
    }
}

impl Shared {
    /// Connects the loop's channels to the handlers.
    pub fn new(
        snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
        superblocks_max: watch::Receiver<usize>,
        heartbeats: Arc<Heartbeats>,
        log_dropped: Arc<AtomicU64>,
        sinks: Arc<Tally>,
        journal: Journal,
    ) -> Self {
        Self {
            snapshot,
            superblocks_max,
            heartbeats,
            log_dropped,
            sinks,
            incidents: incidents::Source::new(journal),
        }
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.borrow().clone()
    }

    fn superblocks_max(&self) -> usize {
        *self.superblocks_max.borrow()
    }

    fn is_alive(&self, now: Wall) -> bool {
        let last = self.heartbeats.observe.load(Ordering::Relaxed);
        now.0.saturating_sub(last) < HEARTBEAT_AGE_MAX_NS
    }

    /// The metrics as text, for whoever does not fetch them; `None` before the first look is done.
    pub fn pushed(&self, form: Form) -> Option<String> {
        let snapshot = self.snapshot()?;
        let totals = match form {
            Form::Collector => String::new(),
            Form::Push => render::metrics::totals(&snapshot),
        };
        // Whoever passes them on has a process of their own.
        let encoded = self.exposition(snapshot, |name| !name.starts_with("process_"));
        let encoded =
            encoded.inspect_err(|error| tracing::warn!(%error, "cannot encode the metrics"));
        Some(totals + &encoded.ok()?)
    }

    fn exposition(
        &self,
        snapshot: Arc<Snapshot>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<String, prometheus::Error> {
        let collector = SnapshotCollector::new(snapshot, self.superblocks_max(), self.report());
        let registry = Registry::new();
        registry.register(Box::new(collector))?;
        let mut families = registry.gather();
        families.retain(|family| is_wanted(family.name()));
        TextEncoder::new().encode_to_string(&families)
    }

    fn report(&self) -> SelfReport {
        let mut report = SelfReport {
            version: env!("CARGO_PKG_VERSION"),
            heartbeats: self.heartbeats.all(),
            dropped: vec![("log_full", self.log_dropped.load(Ordering::Relaxed))],
            process: process::read().ok(),
            ..SelfReport::default()
        };
        self.sinks.add_to(&mut report);
        let storage = self.incidents.journal().condition();
        report.dropped.push(("incidents_not_kept", storage.refused));
        report.storage = storage.is_wanted.then_some(StorageReport {
            is_up: storage.is_up,
            errors: storage.errors,
            waiting: storage.waiting,
        });
        report
    }
}

/// Takes the address; serving begins with [`serve`]. Apart, so that a taken port is noticed before
/// anything is attached. `option` is what chooses another.
pub fn bind(address: SocketAddr, option: &str) -> Result<TcpListener, HttpError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| HttpError::Bind {
        address,
        remedy: format!("{} with {option}", remedy(source.kind())),
        source,
    })
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::AddrInUse {
        "another process listens there (`ss -ltnp` names it); stop it, or choose another port"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this host does not have that address; choose another"
    } else if kind == io::ErrorKind::PermissionDenied {
        "ports below 1024 need CAP_NET_BIND_SERVICE; choose another"
    } else {
        "choose another address"
    }
}

/// Serves on a thread of its own until the process ends.
pub fn serve(listener: TcpListener, shared: Shared) -> Result<(), HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(incidents::READINGS_MAX)
        .build()
        .map_err(HttpError::Start)?;
    let serve = move || {
        let served = runtime.block_on(async {
            let listener = BoundedListener::new(tokio::net::TcpListener::from_std(listener)?);
            axum::serve(listener, router(shared)).await
        });
        if let Err(error) = served {
            tracing::error!(%error, "HTTP ended");
        }
    };
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(serve)
        .map(drop)
        .map_err(HttpError::Start)
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/incidents", get(incidents::list))
        .route("/api/v1/incidents/{id}", get(incidents::one))
        .fallback(unknown)
        .with_state(shared)
}

async fn index() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html><title>mount-observer</title><h1>mount-observer ",
        env!("CARGO_PKG_VERSION"),
        "</h1><ul>\
         <li><a href=\"/metrics\">/metrics</a> Prometheus metrics\
         <li><a href=\"/api/v1/snapshot\">/api/v1/snapshot</a> everything known, as JSON\
         <li><a href=\"/api/v1/incidents\">/api/v1/incidents</a> what went wrong before, as JSON\
         <li><a href=\"/-/healthy\">/-/healthy</a> the observer's loop makes progress\
         <li><a href=\"/-/ready\">/-/ready</a> the first look at all mounts is done\
         </ul>\n"
    ))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let Some(snapshot) = shared.snapshot() else {
        return not_yet();
    };
    match shared.exposition(snapshot, |_| true) {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            (kind, text).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "cannot encode the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

async fn snapshot(State(shared): State<Shared>) -> Response {
    match shared.snapshot() {
        Some(snapshot) => Json(&*snapshot).into_response(),
        None => not_yet(),
    }
}

async fn healthy(State(shared): State<Shared>) -> Response {
    if shared.is_alive(clock::now().wall) {
        "healthy\n".into_response()
    } else {
        let why = "the observer's loop makes no progress\n";
        (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.snapshot().is_some() {
        "ready\n".into_response()
    } else {
        not_yet()
    }
}

async fn unknown() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found: see /\n")
}

fn not_yet() -> Response {
    let why = "the first look at all mounts is not done yet\n";
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

#[cfg(test)]
mod tests;

//! Alertmanager: each member of a cluster is sent what fires, again and again, and what ended until
//! it took it. What lies between two sendings needs no queue: the present state is sent.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{
    Failure, SinkError,
    client::{Client, Method, Request, Settings, receiver},
    counters::Counters,
    place::Place,
    queue::PAUSE_MAX,
};
use crate::{
    alert::{AlertKind, Severity},
    config,
    daemon::{clock, confine},
    notify::{Notice, Status},
    render::alertmanager::Alert,
    time::Mono,
};

/// Alerts kept for one member, those that ended and were not taken included; at some 2 KiB each,
/// 2 MiB.
const ALERTS_MAX: usize = 1_024;
/// The first pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// One member of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    url: String,
    client: Client,
}

impl Peer {
    /// Every member.
    pub(super) fn all(
        config: &config::Alertmanager,
        place: &Place,
    ) -> Result<Vec<Self>, SinkError> {
        let peer = |base: &String| {
            let settings = Settings {
                url: base,
                timeout: config.timeout,
                headers_file: &config.headers_file,
                ca_file: &config.ca_file,
            };
            Ok(Self {
                url: format!("{}/api/v2/alerts", base.trim_end_matches('/')),
                client: Client::new(&settings, place)?,
            })
        };
        config.urls.iter().map(peer).collect()
    }

    /// Where it is, without what may be secret.
    pub(super) fn name(&self) -> String {
        receiver(&self.url)
    }

    /// Sends alerts once.
    pub(super) fn send(&self, alerts: &[&Alert]) -> Result<(), Failure> {
        // Alerts are text: there is JSON for them.
        let body = serde_json::to_vec(alerts).unwrap_or_default();
        self.client.send(&Request {
            method: Method::Post,
            url: &self.url,
            content_type: "application/json",
            body: &body,
            headers: &[],
        })
    }
}

/// How an alert of ours is one of theirs.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) generator_url: String,
}

impl Style {
    pub(super) fn of(config: &config::Alertmanager, host: &str, listen_address: &str) -> Self {
        let generator_url = if config.generator_url.is_empty() {
            let port = listen_address.rsplit(':').next().unwrap_or_default();
            format!("http://{host}:{port}/")
        } else {
            config.generator_url.clone()
        };
        Self {
            labels: config.labels.clone(),
            generator_url,
        }
    }
}

/// An alert of another severity has other labels, and so is another.
type Key = (String, AlertKind, Severity);

#[derive(Clone, Debug)]
struct Entry {
    alert: Alert,
    ended: Option<Mono>,
    revision: u64,
}

/// What one member is to know, and the thread that tells it.
#[derive(Debug)]
pub(super) struct Board {
    sink: String,
    counters: Arc<Counters>,
    style: Style,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    alerts: BTreeMap<Key, Entry>,
    revision: u64,
    sent: u64,
    is_closed: bool,
}

impl Board {
    /// Starts the thread that sends.
    pub(super) fn start(
        sink: &str,
        counters: Arc<Counters>,
        config: &config::Alertmanager,
        style: Style,
        peer: Peer,
    ) -> io::Result<Arc<Self>> {
        let board = Arc::new(Self {
            sink: sink.to_owned(),
            counters,
            style,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let behind = Arc::clone(&board);
        let (resend_every, give_up_after) = (config.resend_every, config.give_up_after);
        thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                // Without, it only keeps more than it uses.
                confine::give_up_capabilities().ok();
                behind.send_all(&peer, resend_every, give_up_after);
            })?;
        Ok(board)
    }

    /// Takes a change. At the bound what is new is refused, and counted.
    pub(super) fn add(&self, notice: &Notice) {
        let now = clock::now().mono;
        let alert = Alert::new(notice, &self.style.labels, &self.style.generator_url);
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        let subject = notice
            .superblock
            .map_or_else(|| notice.mountpoint.clone(), |id| id.to_string());
        let key = (subject, notice.kind, notice.severity);
        // What fired with another severity is over, as its labels have it.
        for (other, entry) in &mut state.alerts {
            let is_same = (&other.0, other.1) == (&key.0, key.1);
            if is_same && (*other != key || notice.status == Status::Resolved) {
                entry.end(&alert, notice, now, revision);
            }
        }
        let is_full = state.alerts.len() >= ALERTS_MAX && !state.alerts.contains_key(&key);
        if is_full {
            self.counters.dropped(&self.sink);
        } else if notice.status == Status::Firing {
            state.alerts.insert(
                key,
                Entry {
                    alert,
                    ended: None,
                    revision,
                },
            );
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until the latest change was sent, for so long at most.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.sent < state.revision);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.sent >= state.revision
    }

    fn send_all(&self, peer: &Peer, resend_every: Duration, give_up_after: Duration) {
        let mut pause = PAUSE_MIN;
        let mut wait = None;
        while let Some((revision, entries)) = self.due(wait) {
            let alerts: Vec<&Alert> = entries.iter().map(|(_, entry)| &entry.alert).collect();
            let result = if alerts.is_empty() {
                Ok(())
            } else {
                let result = peer.send(&alerts);
                self.counters.attempted(&self.sink, &result);
                result
            };
            if result.is_ok() {
                self.sent(revision, &entries);
                pause = PAUSE_MIN;
                wait = (!alerts.is_empty()).then_some(Wait::ForChange(resend_every));
            } else {
                self.give_up(give_up_after);
                wait = Some(Wait::Out(pause));
                pause = (pause * 2).min(PAUSE_MAX).min(resend_every);
            }
        }
    }

    /// Waits until there is something to send: a change, or the end of the wait. `None` once closed.
    fn due(&self, wait: Option<Wait>) -> Option<(u64, Vec<(Key, Entry)>)> {
        let state = self.lock();
        let is_old = |state: &mut State| state.sent >= state.revision && !state.is_closed;
        let state = match wait {
            None => {
                let waited = self.changed.wait_while(state, is_old);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(Wait::ForChange(time)) => {
                let waited = self.changed.wait_timeout_while(state, time, is_old);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            Some(Wait::Out(time)) => {
                let is_open = |state: &mut State| !state.is_closed;
                let waited = self.changed.wait_timeout_while(state, time, is_open);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if state.is_closed {
            return None;
        }
        let alerts = state.alerts.iter();
        let alerts = alerts.map(|(key, entry)| (key.clone(), entry.clone()));
        Some((state.revision, alerts.collect()))
    }

    /// They were taken: what ended is done with, unless it began again meanwhile.
    fn sent(&self, revision: u64, entries: &[(Key, Entry)]) {
        let mut state = self.lock();
        state.sent = revision;
        for (key, entry) in entries.iter().filter(|(_, entry)| entry.ended.is_some()) {
            let now = state.alerts.get(key);
            if now.is_some_and(|now| now.revision == entry.revision) {
                state.alerts.remove(key);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Forgets what ended too long ago.
    fn give_up(&self, after: Duration) {
        let now = clock::now().mono;
        let mut given_up = 0;
        self.lock().alerts.retain(|_, entry| {
            let is_old = entry.ended.is_some_and(|ended| now.since(ended) >= after);
            given_up += u64::from(is_old);
            !is_old
        });
        self.counters.expired(&self.sink, given_up);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// It ended, under the labels it fired with.
    fn end(&mut self, alert: &Alert, notice: &Notice, now: Mono, revision: u64) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(now);
        self.revision = revision;
        self.alert.ends_at = Some(alert.ends_at.clone().unwrap_or_else(|| notice.at_text()));
        self.alert.annotations.clone_from(&alert.annotations);
    }
}

#[derive(Clone, Copy)]
enum Wait {
    /// For a change, or for so long.
    ForChange(Duration),
    /// So long, whatever changes.
    Out(Duration),
}

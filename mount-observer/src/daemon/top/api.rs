//! A daemon's answers, once a second, on a thread that may wait for them.

use std::{
    sync::mpsc::{SyncSender, TrySendError},
    time::Duration,
};

use serde::de::DeserializeOwned;
use ureq::{Agent, http::StatusCode};

use super::Told;
use crate::{
    daemon::sink::receiver,
    top::{Incident, Incidents, Look, News},
};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is asked for incidents, in looks.
const INCIDENTS_EVERY: u32 = 5;
/// Incidents asked for.
const INCIDENTS: &str = "/api/v1/incidents?limit=500";
/// How long each part of an answer may take.
const WITHIN: Duration = Duration::from_secs(3);
/// A snapshot of ten thousand busy mounts is some 30 MB.
const BYTES_MAX: u64 = 256 << 20;
/// How much of a refusal is shown.
const REFUSAL_MAX: usize = 200;

/// Whom is asked.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    url: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// Nobody is there.
    Unreached(String),
    /// It is there, and cannot tell yet.
    NotYet(String),
    /// It says something else.
    Odd(String),
}

impl Silence {
    fn why(self) -> String {
        match self {
            Self::Unreached(why) | Self::NotYet(why) | Self::Odd(why) => why,
        }
    }
}

impl Client {
    /// Of a base URL; `http://` is understood.
    pub(super) fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        let has_scheme = url.contains("://");
        let agent = Agent::config_builder()
            .timeout_connect(Some(WITHIN))
            .timeout_send_request(Some(WITHIN))
            .timeout_recv_response(Some(WITHIN))
            .timeout_recv_body(Some(WITHIN))
            .http_status_as_error(false)
            .max_redirects(0)
            // What is meant is that machine, whatever the environment says of others.
            .proxy(None)
            .user_agent(concat!("mount-observer/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self {
            agent,
            url: if has_scheme {
                url.to_owned()
            } else {
                format!("http://{url}")
            },
        }
    }

    /// Its place, without what may be secret.
    pub(super) fn name(&self) -> String {
        receiver(&self.url)
    }

    /// The snapshot of now.
    pub(super) fn look(&self) -> Result<Look, Silence> {
        self.get("/api/v1/snapshot")
    }

    fn incidents(&self) -> Result<Vec<Incident>, String> {
        let answer: Result<Incidents, Silence> = self.get(INCIDENTS);
        answer.map(|list| list.incidents).map_err(Silence::why)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Silence> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        let mut answer = answer.map_err(|error| {
            // It repeats the URL, which may hold a password.
            if matches!(error, ureq::Error::BadUri(_)) {
                Silence::Odd("the url is bad".to_owned())
            } else {
                Silence::Unreached(error.to_string())
            }
        })?;
        let status = answer.status();
        let body = answer
            .body_mut()
            .with_config()
            .limit(BYTES_MAX)
            .read_to_vec();
        let body = body.map_err(|error| Silence::Unreached(error.to_string()))?;
        if status == StatusCode::OK {
            let read = serde_json::from_slice(&body);
            return read.map_err(|error| Silence::Odd(format!("not understood: {error}")));
        }
        let said = String::from_utf8_lossy(&body);
        let said: String = said.trim().chars().take(REFUSAL_MAX).collect();
        let said = format!("{status}: {said}");
        Err(if status == StatusCode::SERVICE_UNAVAILABLE {
            Silence::NotYet(said)
        } else {
            Silence::Odd(said)
        })
    }

    /// Asks until nobody wants to be told.
    pub(super) fn follow(&self, tell: &SyncSender<Told>) {
        for look in 0_u32.. {
            let mut news = vec![match self.look() {
                Ok(look) => News::Look(Box::new(look)),
                Err(silence) => News::Trouble(silence.why()),
            }];
            if look.is_multiple_of(INCIDENTS_EVERY) {
                news.push(News::Incidents(self.incidents()));
            }
            for news in news {
                // A screen that is behind is told the next.
                if let Err(TrySendError::Disconnected(_)) = tell.try_send(Told::News(news)) {
                    return;
                }
            }
            std::thread::park_timeout(EVERY);
        }
    }
}

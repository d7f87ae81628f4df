//! While a mount that should be there is missing, a program counts what is written underneath: it taxes
//! every system call of the host, and goes with the last that is missing.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{
    daemon::{
        facts,
        kernel::{Attached, Links, Loader, LoaderError},
    },
    plan::{Probe, Purpose},
};

/// Follows the mounts that are missing.
#[derive(Debug)]
pub(super) struct Follower {
    loader: Arc<Loader>,
    links: Links,
    is_wanted: bool,
    /// Not tried again before all are there.
    is_refused: bool,
    job: Option<JoinHandle<Result<(Attached, Links), LoaderError>>>,
}

impl Follower {
    pub(super) fn new(loader: Arc<Loader>) -> Self {
        Self {
            loader,
            links: Links::default(),
            is_wanted: false,
            is_refused: false,
            job: None,
        }
    }

    /// Whether some mount is missing.
    pub(super) fn want(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
        self.is_refused &= is_wanted;
    }

    /// Starts what is due, beside the loop.
    pub(super) fn look(&mut self) -> Option<Attached> {
        if self.job.is_some() {
            return None;
        }
        if !self.is_wanted {
            return (!self.links.is_empty()).then(|| self.let_go());
        }
        if self.links.is_empty() && !self.is_refused {
            let loader = Arc::clone(&self.loader);
            self.job = Some(tokio::task::spawn_blocking(move || {
                let (found, plan) = facts::decide(Purpose::Underneath);
                loader.attach_underneath(&plan, &found)
            }));
        }
        None
    }

    /// Ends when what runs has ended; never while nothing does.
    pub(super) async fn done(&mut self) -> Option<Attached> {
        let Some(job) = &mut self.job else {
            return std::future::pending().await;
        };
        let done = job.await;
        self.job = None;
        match done {
            Ok(Ok((attached, links))) => {
                self.is_refused = links.is_empty();
                self.links = links;
                if !self.is_refused {
                    tracing::info!("a mount is missing: writes underneath are counted");
                }
                Some(attached)
            }
            Ok(Err(error)) => self.refuse(&error),
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(&mut self, error: &dyn std::error::Error) -> Option<Attached> {
        tracing::error!(%error, "a mount is missing, and writes underneath cannot be counted");
        self.is_refused = true;
        None
    }

    fn let_go(&mut self) -> Attached {
        let why = "every mount that is expected is there: nothing to see until one is missing";
        tracing::info!(reason = why, "the program on writes underneath is detached");
        self.links.let_go();
        Attached::nothing(|probe| probe == Probe::ShadowWrites, why, true)
    }
}

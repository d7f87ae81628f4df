//! FUSE as a module: it may be loaded after us, and unloaded and loaded again. The programs that look
//! at it follow.
//!
//! A program on a function of a module holds that module, which then cannot be unloaded. So the
//! programs let go when nobody but them holds it: then there is no FUSE mount, no open `/dev/fuse`,
//! and nothing to see. Whoever opens it next is noticed at the next beat; requests sent until the
//! programs are attached are found by the walk over the connection's queues only.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::{
    daemon::{
        facts::{
            self, Gathered,
            fuse::{self, Loaded},
        },
        kernel::{Attached, FuseModule, Links, Loader, LoaderError},
        symbols::Symbols,
    },
    input::{Input, ProbeHealth},
    plan::{AttachPlan, Probe, Purpose, plan},
    time::Mono,
};

/// How long nobody else holds the module before we let go.
const IDLE: Duration = Duration::from_secs(10);

/// How long it may take until programs that let go no longer hold the module: their trampolines are
/// freed once no task can be in them (`bpf_tramp_image_put`, `kernel/bpf/trampoline.c`).
const SETTLING: Duration = Duration::from_secs(5);

/// What became of the programs.
pub(super) struct Change {
    /// In place of what was attached.
    pub(super) attached: Attached,
    /// Where its functions lie.
    pub(super) symbols: Option<Symbols>,
    /// What else is new.
    pub(super) inputs: Vec<Input>,
}

/// Follows the module.
#[derive(Debug)]
pub(super) struct Follower {
    loader: Arc<Loader>,
    purpose: Purpose,
    links: Links,
    /// The module the programs are attached to, or were when they let go; 0 for none.
    identity: u64,
    /// Since when nobody else holds it.
    idle_since: Option<Mono>,
    /// While the programs let go: since when, and how many held it when last looked at.
    settling: Option<(Mono, u32)>,
    loading: Option<JoinHandle<Result<Loading, LoaderError>>>,
}

#[derive(Debug)]
struct Loading {
    identity: u64,
    attached: Attached,
    links: Links,
    found: Gathered,
}

impl Follower {
    pub(super) fn new(module: FuseModule, purpose: Purpose) -> Self {
        Self {
            loader: Arc::new(module.loader),
            purpose,
            links: module.links,
            identity: fuse::loaded().map_or(0, |module| module.identity),
            idle_since: None,
            settling: None,
            loading: None,
        }
    }

    /// Looks at the module; what the programs saw of one that is gone is over.
    pub(super) fn look(&mut self, now: Mono) -> Option<Change> {
        if self.loading.is_some() {
            return None;
        }
        let Some(module) = fuse::loaded() else {
            let is_news = self.identity != 0 || !self.links.is_empty();
            self.identity = 0;
            let why = "FUSE is not loaded: nothing to see until it is";
            return is_news.then(|| self.let_go(now, why));
        };
        if module.identity != self.identity {
            self.start(module);
            return None;
        }
        let others = module
            .users
            .map_or(1, |users| users.saturating_sub(self.links.module_users));
        if self.links.is_empty() {
            if self.is_used(now, others) {
                self.start(module);
            }
            return None;
        }
        if others > 0 || self.links.module_users == 0 {
            self.idle_since = None;
            return None;
        }
        let since = *self.idle_since.get_or_insert(now);
        (now.since(since) >= IDLE).then(|| {
            self.let_go(
                now,
                "nobody uses FUSE: its module may be unloaded meanwhile",
            )
        })
    }

    /// Whether somebody holds a module that we let go.
    fn is_used(&mut self, now: Mono, users: u32) -> bool {
        let Some((since, before)) = self.settling else {
            return users > 0;
        };
        let is_settled = now.since(since) >= SETTLING;
        self.settling = (users > 0 && !is_settled).then_some((since, users));
        users > before || (users > 0 && is_settled)
    }

    /// Ends when programs that were being loaded are there; never while none are.
    pub(super) async fn loaded(&mut self) -> Option<Change> {
        let Some(loading) = &mut self.loading else {
            return std::future::pending().await;
        };
        let done = loading.await;
        self.loading = None;
        self.idle_since = None;
        match done {
            Ok(Ok(loading)) => {
                tracing::info!(
                    probes = loading.attached.attachments.len(),
                    "FUSE is there: its requests are counted from now on"
                );
                self.identity = loading.identity;
                self.links = loading.links;
                let found = loading.found;
                Some(Change {
                    attached: loading.attached,
                    symbols: found.symbols,
                    inputs: vec![Input::Layout {
                        is_described: found.facts.assumed.is_empty(),
                    }],
                })
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "FUSE is there and cannot be looked at");
                None
            }
            Err(error) => {
                tracing::error!(%error, "FUSE is there and cannot be looked at");
                None
            }
        }
    }

    /// Loads the programs, beside the loop: some 50 ms.
    fn start(&mut self, module: Loaded) {
        let loader = Arc::clone(&self.loader);
        let purpose = self.purpose;
        // Not again for the same module where this fails.
        self.identity = module.identity;
        self.settling = None;
        self.loading = Some(tokio::task::spawn_blocking(move || {
            let found = facts::gather();
            let plan: AttachPlan = plan(&found.facts, purpose);
            let (attached, links) = loader.attach_fuse(&plan, &found)?;
            Ok(Loading {
                identity: module.identity,
                attached,
                links,
                found,
            })
        }));
    }

    fn let_go(&mut self, now: Mono, why: &'static str) -> Change {
        if !self.links.is_empty() {
            tracing::info!(reason = why, "the programs on FUSE are detached");
        }
        self.idle_since = None;
        self.settling = Some((now, u32::MAX));
        let links = std::mem::take(&mut self.links);
        // Closing them waits until no task runs in them any more.
        drop(tokio::task::spawn_blocking(move || drop(links)));
        let probes = Probe::ALL.into_iter().filter(|probe| probe.is_fuse());
        let health = |probe: Probe| ProbeHealth {
            probe: probe.name(),
            kind: None,
            is_wanted: false,
            reason: why.to_owned(),
        };
        Change {
            attached: Attached {
                probes: probes.map(health).collect(),
                ..Attached::default()
            },
            symbols: None,
            inputs: Vec::new(),
        }
    }
}

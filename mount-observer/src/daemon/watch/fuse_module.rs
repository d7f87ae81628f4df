//! FUSE as a module: it may be loaded after us, and unloaded and loaded again. The programs that look
//! at it follow.
//!
//! A program on a function of a module holds that module, which then cannot be unloaded. So the
//! programs let go when nobody but them holds it: then there is no FUSE mount, no open `/dev/fuse`,
//! and nothing to see. Whoever opens it next is noticed at the next beat; requests sent until the
//! programs are attached are found by the walk over the connection's queues only.

mod following;

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{
    daemon::{
        facts::{
            self, Gathered,
            fuse::{self, Loaded},
        },
        kernel::{Attached, FuseModule, Links, Loader, LoaderError},
        run::chain,
        symbols::Symbols,
    },
    input::Input,
    plan::{Probe, Purpose},
    time::Mono,
};

use following::{Following, Seen, Step};

/// What became of the programs.
pub(super) struct Change {
    /// In place of what was attached.
    pub(super) attached: Attached,
    /// Where its functions lie, where that had to be looked up.
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
    following: Following,
    loading: Option<JoinHandle<Result<Loading, LoaderError>>>,
}

#[derive(Debug)]
struct Loading {
    attached: Attached,
    links: Links,
    found: Gathered,
}

impl Follower {
    /// `is_there` says whether the module was, when the programs were attached.
    pub(super) fn new(
        loader: Arc<Loader>,
        module: FuseModule,
        purpose: Purpose,
        is_there: bool,
    ) -> Self {
        let module_now = fuse::loaded().filter(|_| is_there);
        Self {
            loader,
            purpose,
            following: Following::new(module_now, module.links.module_users),
            links: module.links,
            loading: None,
        }
    }

    /// Looks at the module; `has_mounts` says whether some mount table shows a FUSE mount.
    pub(super) fn look(&mut self, now: Mono, has_mounts: bool) -> Option<Change> {
        if self.loading.is_some() {
            return None;
        }
        let seen = Seen {
            module: fuse::loaded(),
            has_mounts,
        };
        match self.following.look(now, seen) {
            Step::Nothing => None,
            Step::Start(module) => {
                let has_old = !self.links.is_empty();
                let change = has_old.then(|| self.let_go("FUSE was loaded again"));
                self.start(module);
                change
            }
            Step::LetGo(why) => Some(self.let_go(why)),
        }
    }

    /// Ends when programs that were being loaded are there, or cannot be; never while none are.
    pub(super) async fn loaded(&mut self) -> Option<Change> {
        let Some(loading) = &mut self.loading else {
            return std::future::pending().await;
        };
        let done = loading.await;
        self.loading = None;
        Some(match done {
            Ok(Ok(loading)) => self.started(loading),
            Ok(Err(error)) => refused(&chain(&error)),
            Err(error) => refused(&chain(&error)),
        })
    }

    fn started(&mut self, loading: Loading) -> Change {
        let users = loading.links.module_users;
        tracing::info!(
            probes = loading.attached.attachments.len(),
            held = users,
            "FUSE is there: its requests are counted from now on"
        );
        self.following.started(users);
        self.links = loading.links;
        let found = loading.found;
        Change {
            attached: loading.attached,
            symbols: found.symbols,
            inputs: vec![Input::Layout {
                is_described: found.facts.assumed.is_empty(),
            }],
        }
    }

    /// Loads the programs, beside the loop: some 50 ms.
    fn start(&mut self, module: Loaded) {
        tracing::debug!(identity = module.identity, "FUSE is looked at");
        let loader = Arc::clone(&self.loader);
        let purpose = self.purpose;
        self.loading = Some(tokio::task::spawn_blocking(move || {
            let (found, plan) = facts::decide(purpose);
            let (attached, links) = loader.attach_fuse(&plan, &found)?;
            Ok(Loading {
                attached,
                links,
                found,
            })
        }));
    }

    fn let_go(&mut self, why: &'static str) -> Change {
        if !self.links.is_empty() {
            tracing::info!(reason = why, "the programs on FUSE are detached");
        }
        self.links.let_go();
        without_programs(why, true)
    }
}

/// The programs cannot be loaded at all: all they would show is missed.
fn refused(why: &str) -> Change {
    tracing::error!(error = why, "FUSE is there and cannot be looked at");
    without_programs(why, false)
}

/// Nothing looks at FUSE.
fn without_programs(why: &str, is_resting: bool) -> Change {
    Change {
        attached: Attached::nothing(Probe::is_fuse, why, is_resting),
        symbols: None,
        inputs: Vec::new(),
    }
}

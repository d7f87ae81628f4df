//! NFS comes with its first mount and may go after the last: the programs that look at it follow.
//!
//! A program on a tracepoint of a module holds that module (`bpf_get_raw_tracepoint`,
//! `kernel/trace/bpf_trace.c`). Here that is sunrpc, which every NFS mount holds anyway: with the last
//! mount in scope the programs let go too, within a beat of the mount table's change.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::{
    daemon::{
        clock, facts,
        kernel::{Attached, Links, Loader, LoaderError, NfsPrograms},
        nfs::NfsMounts,
    },
    input::Input,
    plan::{Probe, Purpose},
    superblock::{Dev, SuperblockId},
    time::Mono,
};

/// How often mounts are looked for whose client is not known, and how often the clients of those that
/// are: a migrated one has another.
const MISSING_EVERY: Duration = Duration::from_secs(1);
const KNOWN_EVERY: Duration = Duration::from_mins(1);

/// What became of the programs.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// In place of what was attached; `None` where that stays.
    pub(super) attached: Option<Attached>,
    /// What else is new.
    pub(super) inputs: Vec<Input>,
}

/// Follows the mounts.
#[derive(Debug)]
pub(super) struct Follower {
    loader: Arc<Loader>,
    purpose: Purpose,
    links: Links,
    /// `None` while it is away, and where there is none.
    mounts: Option<NfsMounts>,
    wanted: BTreeSet<Dev>,
    /// When they were last looked for, and how long that will do; `None` for not at all.
    looked: Option<(Mono, Duration)>,
    /// Not tried again for the same mounts.
    is_refused: bool,
    job: Option<JoinHandle<Done>>,
}

/// A job's end.
#[derive(Debug)]
enum Done {
    Attached(Result<(Attached, NfsPrograms), LoaderError>),
    Looked(NfsMounts, io::Result<BTreeSet<Dev>>),
}

impl Follower {
    pub(super) fn new(loader: Arc<Loader>, programs: NfsPrograms, purpose: Purpose) -> Self {
        Self {
            loader,
            purpose,
            links: programs.links,
            mounts: programs.mounts,
            wanted: BTreeSet::new(),
            looked: None,
            is_refused: false,
            job: None,
        }
    }

    /// Replaces the superblocks whose operations are counted.
    pub(super) fn want(&mut self, superblocks: &[SuperblockId]) {
        self.wanted = superblocks.iter().map(|id| id.dev).collect();
        self.looked = None;
        self.is_refused = false;
    }

    /// Starts what is due, beside the loop; nothing else while something runs.
    pub(super) fn look(&mut self, now: Mono) -> Option<Change> {
        if self.job.is_some() {
            return None;
        }
        if self.wanted.is_empty() {
            return (!self.links.is_empty()).then(|| self.let_go());
        }
        if self.links.is_empty() {
            if !self.is_refused {
                self.attach();
            }
            return None;
        }
        if (self.looked).is_none_or(|(at, enough)| now.since(at) >= enough)
            && let Some(mut mounts) = self.mounts.take()
        {
            self.job = Some(tokio::task::spawn_blocking(move || {
                let found = mounts.look();
                Done::Looked(mounts, found)
            }));
        }
        None
    }

    /// Ends when what runs has ended; never while nothing does.
    pub(super) async fn done(&mut self) -> Change {
        let Some(job) = &mut self.job else {
            return std::future::pending().await;
        };
        let done = job.await;
        self.job = None;
        match done {
            Ok(Done::Attached(result)) => self.attached(result),
            Ok(Done::Looked(mounts, found)) => {
                self.mounts = Some(mounts);
                self.looked(clock::now().mono, &found)
            }
            Err(error) => {
                tracing::error!(%error, "NFS is there and cannot be looked at");
                self.is_refused = true;
                Change::default()
            }
        }
    }

    fn attach(&mut self) {
        let loader = Arc::clone(&self.loader);
        let purpose = self.purpose;
        self.job = Some(tokio::task::spawn_blocking(move || {
            let (found, plan) = facts::decide(purpose);
            Done::Attached(loader.attach_nfs(&plan, &found))
        }));
    }

    fn attached(&mut self, result: Result<(Attached, NfsPrograms), LoaderError>) -> Change {
        let (attached, programs) = match result {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "NFS is there and cannot be looked at");
                self.is_refused = true;
                return Change::default();
            }
        };
        self.links = programs.links;
        self.mounts = programs.mounts;
        self.looked = None;
        self.is_refused = self.links.is_empty();
        if !self.is_refused {
            tracing::info!("NFS is there: its operations are counted from now on");
        }
        let is_blind = self.is_refused || self.mounts.is_none();
        Change {
            attached: Some(attached),
            inputs: vec![unseen(if is_blind { self.wanted.len() } else { 0 })],
        }
    }

    fn looked(&mut self, now: Mono, found: &io::Result<BTreeSet<Dev>>) -> Change {
        let missing = match found {
            Ok(found) => self.wanted.difference(found).count(),
            Err(error) => {
                tracing::warn!(%error, "cannot look for NFS mounts");
                self.wanted.len()
            }
        };
        let wait = if missing == 0 {
            KNOWN_EVERY
        } else {
            MISSING_EVERY
        };
        self.looked = Some((now, wait));
        Change {
            attached: None,
            inputs: vec![unseen(missing)],
        }
    }

    fn let_go(&mut self) -> Change {
        let why = "no NFS is mounted: nothing to see until it is";
        tracing::info!(reason = why, "the programs on NFS are detached");
        self.links.let_go();
        self.mounts = None;
        Change {
            attached: Some(Attached::nothing(Probe::is_nfs, why, true)),
            inputs: vec![unseen(0)],
        }
    }
}

fn unseen(mounts: usize) -> Input {
    Input::Unseen {
        what: "NFS mounts whose operations are not told apart",
        count: u64::try_from(mounts).unwrap_or(u64::MAX),
    }
}

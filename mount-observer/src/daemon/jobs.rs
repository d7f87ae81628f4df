//! What may take long, each on a thread of its own and never twice at a time: its state moves to
//! the thread and comes back with the answer.

mod schedules;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use mount_observer_common::ScanMode;
use tokio::task::{JoinError, JoinSet};

use super::{
    cgroup, clock,
    config_file::ConfigSource,
    confine::clerk,
    engine::Wanted,
    fusectl::{Access, Fusectl},
    mountinfo::OwnTable,
    namespaces::{self, Namespaces},
    scan::{ScanError, Scanner},
    symbols::{self, Symbols},
};
use schedules::{Look, Schedules};

use crate::{
    config::Config,
    input::{Input, Scan},
    plan::{Fuse, KernelFacts},
    superblock::Dev,
    time::Mono,
};

/// What the loop makes of a job's end.
#[derive(Debug)]
pub enum Outcome {
    /// The observer should know.
    Inputs(Vec<Input>),
    /// Where the kernel's functions lie.
    Symbols(Symbols),
    /// The configuration was read again.
    Config(Box<Config>),
    /// It is in the log.
    Nothing,
}

/// A look, what it cost and what it brought.
type Looked = (Look, Duration, Result<Scan, ScanError>);

/// A job's end.
#[derive(Debug)]
enum Done {
    Scans(Box<Scanner>, Vec<Looked>, BTreeMap<Dev, bool>),
    Namespaces(Namespaces, Duration, std::io::Result<Vec<Input>>),
    Waiting(Duration, Vec<Input>),
    Tables(Vec<Input>),
    Names(Vec<Input>),
    Symbols(std::io::Result<Symbols>),
    Config(Option<Box<Config>>),
}

/// The jobs and when they are due.
#[derive(Debug)]
pub struct Jobs {
    running: JoinSet<Done>,
    /// `None` while it is away on a scan; likewise below.
    scanner: Option<Scanner>,
    /// What the scanner gets when it comes back; likewise below.
    next_holders: Option<Holders>,
    next_files: Option<OwnedFd>,
    namespaces: Option<Namespaces>,
    own: Arc<OwnTable>,
    representatives: BTreeMap<u32, u32>,
    /// The superblocks whose files open for writing are asked for, and whether they are FUSE's.
    files_wanted: BTreeMap<Dev, bool>,
    tables_wanted: BTreeSet<u32>,
    are_tables_away: bool,
    symbols: Demand,
    fusectl: Option<Arc<Access>>,
    is_waiting_away: bool,
    is_config_away: bool,
    schedules: Schedules,
}

/// The iterator over the holders of `/dev/fuse`, where there is one.
#[derive(Debug)]
struct Holders(Option<OwnedFd>);

/// A job without a schedule: it runs when asked for, and again when asked for meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    is_wanted: bool,
    is_away: bool,
}

impl Jobs {
    /// Nothing runs yet, and every look is due. fusectl is opened here, once, where FUSE is part of
    /// the kernel.
    pub fn new(scanner: Scanner, own: Arc<OwnTable>, facts: &KernelFacts) -> Self {
        let place = facts.fusectl.as_deref();
        let hold = |place| match Fusectl::open(place) {
            Ok(fusectl) => Some(Access::Held(fusectl)),
            Err(error) => {
                tracing::warn!(%error, "cannot open fusectl: its counts are not read");
                None
            }
        };
        let access = if facts.fuse == Fuse::BuiltIn {
            place.and_then(hold)
        } else {
            Some(Access::EachTime)
        };
        let fusectl = access.map(Arc::new);
        Self {
            running: JoinSet::new(),
            scanner: Some(scanner),
            next_holders: None,
            next_files: None,
            namespaces: Some(Namespaces::new(Arc::clone(&own))),
            own,
            representatives: BTreeMap::new(),
            files_wanted: BTreeMap::new(),
            tables_wanted: BTreeSet::new(),
            are_tables_away: false,
            symbols: Demand::default(),
            fusectl,
            is_waiting_away: false,
            is_config_away: false,
            schedules: Schedules::new(),
        }
    }

    /// Replaces the iterator over the holders of `/dev/fuse`, which goes and comes with FUSE.
    pub fn set_holders(&mut self, holders: Option<OwnedFd>) {
        match &mut self.scanner {
            Some(scanner) => scanner.holders = holders,
            None => self.next_holders = Some(Holders(holders)),
        }
    }

    /// Replaces the iterator over files open for writing.
    pub fn set_files(&mut self, files: OwnedFd) {
        match &mut self.scanner {
            Some(scanner) => scanner.files = Some(files),
            None => self.next_files = Some(files),
        }
    }

    /// Every look, one after the other, on this thread: for the start, before anybody waits for us.
    pub fn look_at_everything(&mut self) -> Vec<Input> {
        let mut inputs = self.look_at_namespaces();
        if let Some(scanner) = self.scanner.take() {
            let mut looks = vec![Look::Holders, Look::TasksFull];
            looks.retain(|&look| look != Look::Holders || scanner.has_holders());
            inputs.extend(self.end(scan(scanner, looks, BTreeMap::new())));
        }
        if let Some(fusectl) = self.fusectl.clone() {
            inputs.extend(self.end(read_waiting(&fusectl)));
        }
        inputs
    }

    /// The other namespaces' tables, on this thread.
    pub fn look_at_namespaces(&mut self) -> Vec<Input> {
        let namespaces = self.namespaces.take();
        namespaces.map_or_else(Vec::new, |namespaces| {
            let done = scan_namespaces(namespaces, &self.own);
            self.end(done)
        })
    }

    /// Notes what the observer asked for.
    pub fn want(&mut self, now: Mono, wanted: &Wanted) {
        if wanted.holders {
            self.schedules.holders.want(now);
        }
        if wanted.suspicion {
            self.schedules.holders.want_urgently();
            self.schedules.tasks_full.want_urgently();
        }
        if !wanted.files.is_empty() {
            self.files_wanted.extend(&wanted.files);
            self.schedules.files.want_urgently();
        }
        self.tables_wanted.extend(&wanted.tables);
        if !wanted.units.is_empty() {
            // Nobody is asked about again before the answer is there.
            let pids = wanted.units.clone();
            self.running
                .spawn_blocking(move || Done::Names(vec![Input::Units(cgroup::read(pids))]));
        }
        if !wanted.addresses.is_empty() {
            // Asked for every few seconds at most: no two of them run at a time.
            let addresses = wanted.addresses.clone();
            self.running.spawn_blocking(move || {
                Done::Names(
                    symbols::names(&addresses)
                        .map(Input::Names)
                        .into_iter()
                        .collect(),
                )
            });
        }
        self.symbols.is_wanted |= wanted.symbols;
    }

    /// Has the list of symbols read.
    pub const fn want_symbols(&mut self) {
        self.symbols.is_wanted = true;
    }

    /// Reads the configuration again, unless that is being done.
    pub fn reload(&mut self, source: Arc<ConfigSource>) {
        if std::mem::replace(&mut self.is_config_away, true) {
            return;
        }
        self.running.spawn_blocking(move || {
            Done::Config(match source.read() {
                Ok(config) => Some(Box::new(config)),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "the old configuration stays in force");
                    None
                }
            })
        });
    }

    /// Starts what is due and not away.
    pub fn start_due(&mut self, now: Mono) {
        let looks = self.looks_due(now);
        if !looks.is_empty()
            && let Some(scanner) = self.scanner.take()
        {
            for &look in &looks {
                self.schedules.of(look).begin(now);
            }
            let files = if looks.contains(&Look::Files) {
                std::mem::take(&mut self.files_wanted)
            } else {
                BTreeMap::new()
            };
            self.running
                .spawn_blocking(move || scan(scanner, looks, files));
        }
        if self.schedules.namespaces.is_due(now)
            && let Some(namespaces) = self.namespaces.take()
        {
            self.schedules.namespaces.begin(now);
            let own = Arc::clone(&self.own);
            self.running
                .spawn_blocking(move || scan_namespaces(namespaces, &own));
        }
        if self.schedules.waiting.is_due(now)
            && !self.is_waiting_away
            && let Some(fusectl) = self.fusectl.clone()
        {
            self.schedules.waiting.begin(now);
            self.is_waiting_away = true;
            self.running.spawn_blocking(move || read_waiting(&fusectl));
        }
        if self.symbols.is_wanted && !self.symbols.is_away {
            self.symbols = Demand {
                is_wanted: false,
                is_away: true,
            };
            self.running
                .spawn_blocking(|| Done::Symbols(Symbols::read(&BTreeSet::new())));
        }
        if !self.tables_wanted.is_empty() && !self.are_tables_away {
            self.are_tables_away = true;
            let wanted: Vec<u32> = std::mem::take(&mut self.tables_wanted)
                .into_iter()
                .collect();
            let representatives = self.representatives.clone();
            let own = Arc::clone(&self.own);
            self.running.spawn_blocking(move || {
                let read = move || namespaces::read_now(&wanted, &own, &representatives);
                Done::Tables(clerk::NAMESPACES.ask(read).unwrap_or_default())
            });
        }
    }

    /// A full look at the tasks includes the light one.
    fn looks_due(&mut self, now: Mono) -> Vec<Look> {
        let mut looks = Vec::new();
        let Some(scanner) = &self.scanner else {
            return looks;
        };
        if !self.files_wanted.is_empty() && self.schedules.files.is_due(now) {
            looks.push(Look::Files);
        }
        if scanner.has_holders() && self.schedules.holders.is_due(now) {
            looks.push(Look::Holders);
        }
        if self.schedules.tasks_full.is_due(now) {
            looks.push(Look::TasksFull);
        } else if self.schedules.tasks_light.is_due(now) {
            looks.push(Look::TasksLight);
        }
        looks
    }

    /// The end of a job; `None` while none runs.
    pub async fn next(&mut self) -> Option<Result<Outcome, JoinError>> {
        let done = match self.running.join_next().await? {
            Ok(done) => done,
            Err(error) => return Some(Err(error)),
        };
        if let Done::Config(config) = done {
            self.is_config_away = false;
            return Some(Ok(config.map_or(Outcome::Nothing, Outcome::Config)));
        }
        if let Done::Symbols(symbols) = done {
            return Some(Ok(self.end_of_reading(symbols)));
        }
        Some(Ok(Outcome::Inputs(self.end(done))))
    }

    /// What was known stays where nothing can be read. Tasks that wait are found by these functions,
    /// so they are looked for at once.
    fn end_of_reading(&mut self, symbols: std::io::Result<Symbols>) -> Outcome {
        self.symbols.is_away = false;
        self.schedules.tasks_full.want_urgently();
        Outcome::Symbols(symbols.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the kernel's symbols");
            Symbols::default()
        }))
    }

    /// Takes back what was away, and hands on what was learnt.
    fn end(&mut self, done: Done) -> Vec<Input> {
        let now = clock::now().mono;
        match done {
            Done::Scans(mut scanner, scans, files) => {
                if let Some(holders) = self.next_holders.take() {
                    scanner.holders = holders.0;
                }
                if let Some(files) = self.next_files.take() {
                    scanner.files = Some(files);
                }
                self.scanner = Some(*scanner);
                scans
                    .into_iter()
                    .map(|scan| self.end_of_look(now, scan, &files))
                    .collect()
            }
            Done::Namespaces(namespaces, cost, inputs) => {
                self.schedules.namespaces.end(now, cost);
                self.representatives = namespaces.representatives();
                self.namespaces = Some(namespaces);
                inputs.unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot look for mount namespaces");
                    Vec::new()
                })
            }
            Done::Waiting(cost, inputs) => {
                self.schedules.waiting.end(now, cost);
                self.is_waiting_away = false;
                inputs
            }
            Done::Tables(inputs) => {
                self.are_tables_away = false;
                inputs
            }
            Done::Names(inputs) => inputs,
            Done::Config(_) | Done::Symbols(_) => Vec::new(),
        }
    }

    /// A look that failed is one that proves nothing: an incomplete scan without rows.
    fn end_of_look(
        &mut self,
        now: Mono,
        (look, cost, scan): Looked,
        files: &BTreeMap<Dev, bool>,
    ) -> Input {
        self.schedules.of(look).end(now, cost);
        if look == Look::TasksFull {
            self.schedules.tasks_light.end(now, Duration::ZERO);
        }
        let scan = scan.unwrap_or_else(|error| {
            tracing::debug!(%error, ?look, "a scan failed");
            Scan::default()
        });
        tracing::trace!(?look, ?cost, bytes = scan.bytes.len(), "scanned");
        match look {
            Look::Holders => Input::Holders(scan),
            Look::TasksLight | Look::TasksFull => Input::Tasks {
                scan,
                is_full: look == Look::TasksFull,
            },
            Look::Files => Input::Files {
                scan,
                superblocks: files.keys().copied().collect(),
            },
        }
    }
}

fn scan(mut scanner: Scanner, looks: Vec<Look>, files: BTreeMap<Dev, bool>) -> Done {
    let scans = looks
        .into_iter()
        .map(|look| {
            let (cost, scan) = timed(|| match look {
                Look::Holders => scanner.holders(),
                Look::TasksLight => scanner.tasks(ScanMode::Light),
                Look::TasksFull => scanner.tasks(ScanMode::Full),
                Look::Files => scanner.files(&files),
            });
            (look, cost, scan)
        })
        .collect();
    Done::Scans(Box::new(scanner), scans, files)
}

/// Where the thread that reads links is gone, nothing is known any more, and that is told.
fn scan_namespaces(mut namespaces: Namespaces, own: &Arc<OwnTable>) -> Done {
    let scanned = clerk::NAMESPACES.ask(move || {
        let (cost, inputs) = timed(|| namespaces.scan());
        Done::Namespaces(namespaces, cost, inputs)
    });
    scanned.unwrap_or_else(|error| {
        Done::Namespaces(Namespaces::new(Arc::clone(own)), Duration::ZERO, Err(error))
    })
}

fn read_waiting(fusectl: &Access) -> Done {
    let (cost, waiting) = timed(|| fusectl.waiting());
    let unseen = |count| Input::Unseen {
        what: "fusectl that cannot be read: needs CAP_DAC_READ_SEARCH",
        count,
    };
    let inputs = match waiting {
        Ok(Some(waiting)) => vec![Input::Waiting(waiting), unseen(0)],
        Ok(None) => Vec::new(),
        Err(error) => {
            tracing::debug!(%error, "cannot read fusectl");
            vec![unseen(1)]
        }
    };
    Done::Waiting(cost, inputs)
}

/// The processor time it took: on a busy host a look takes longer, but costs no more.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = clock::thread_cpu();
    let result = work();
    (clock::thread_cpu().since(begun), result)
}

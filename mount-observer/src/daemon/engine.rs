//! Feeds the observer, and carries out what it asks for where that takes microseconds. What takes
//! longer is collected as [`Wanted`] for the caller, who knows how to wait.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    clock,
    kernel::Attached,
    links, log,
    maps::{KernelFilter, Maps, MapsError},
    record::{self, Recorder},
    scan::ConnectionChecker,
    symbols::Symbols,
};
use crate::{
    alert::Transition,
    config::Config,
    health::NOT_RECORDED,
    incident::{Incident, IncidentId},
    input::{ConnectionCheck, Effect, Input, KernelHealth, ProbeHealth},
    plan::KernelFacts,
    recovery::{Job, RecoveryRun},
    scope::ScopeError,
    session::Session,
    snapshot::Snapshot,
    superblock::{Dev, SuperblockId},
    time::Mono,
    trace::{Line, Tracer},
};

/// Decisions in a row that answer each other before the rest waits for the next regular one.
const ROUNDS_MAX: usize = 4;

/// For the first moments: who waits behind a lock, and why a connection was aborted, is told by it.
const SYMBOLS_TO_COME: &str = "list of kernel symbols: being read";

/// The name under which the snapshot tells of the recorder.
const RECORDING: &str = "recording";

/// What the observer asked for and the engine cannot do in passing.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The `holders` iterator, soon.
    pub holders: bool,
    /// Both iterators, tasks in full, at once.
    pub suspicion: bool,
    /// Connections whose server is exiting: address and device.
    pub exits: Vec<(u64, Dev)>,
    /// Where the kernel's functions lie, once more.
    pub symbols: bool,
    /// Mount namespaces whose table is to be read now.
    pub tables: BTreeSet<u32>,
    /// Superblocks whose files open for writing are to be listed, and whether they are FUSE's.
    pub files: BTreeMap<Dev, bool>,
    /// Processes whose control groups are to be read.
    pub units: Vec<u32>,
    /// Kernel addresses whose function is to be found.
    pub addresses: Vec<u64>,
    /// The NFS superblocks there are now, where that changed.
    pub nfs: Option<Vec<SuperblockId>>,
    /// Whether some mount is missing, where that may have changed.
    pub is_missing: Option<bool>,
    /// Changes of alerts, in order: for the sinks.
    pub told: Vec<Transition>,
    /// Incidents as the journal is to hold them, in order: a later one replaces an earlier.
    pub kept: Vec<Incident>,
    /// Recoveries, the same.
    pub runs: Vec<RecoveryRun>,
    /// Steps of recoveries to carry out.
    pub recover: Vec<Job>,
}

/// The session with the parts of the kernel side that answer at once.
#[derive(Debug)]
pub struct Engine {
    session: Session,
    recorder: Option<Box<Recorder>>,
    /// What the observer was told of the recorder.
    recorder_trouble: Option<String>,
    maps: Maps,
    checker: Option<ConnectionChecker>,
    probes: Vec<ProbeHealth>,
    pending: VecDeque<Input>,
    is_tick_wanted: bool,
    is_snapshot_new: bool,
    /// Whether some mount is missing that should be there.
    is_missing: bool,
    wanted: Wanted,
    /// Readings of maps that failed.
    reads_failed: u64,
    /// Changes of what the programs match against that failed.
    watches_failed: u64,
    /// The kernel side's counters as last read.
    counters: Vec<(&'static str, u64)>,
}

impl Engine {
    /// Brings them together.
    pub fn new(
        session: Session,
        maps: Maps,
        checker: Option<ConnectionChecker>,
        probes: Vec<ProbeHealth>,
    ) -> Self {
        Self {
            session,
            recorder: None,
            recorder_trouble: None,
            maps,
            checker,
            probes,
            pending: VecDeque::new(),
            is_tick_wanted: false,
            is_snapshot_new: false,
            is_missing: false,
            wanted: Wanted::default(),
            reads_failed: 0,
            watches_failed: 0,
            counters: Vec::new(),
        }
    }

    /// Has everything recorded that it is fed from now on.
    #[must_use]
    pub fn recorded_by(mut self, recorder: Option<Recorder>) -> Self {
        self.recorder = recorder.map(Box::new);
        self
    }

    /// Has what led to an alert saved, where there is a flight recorder.
    pub fn save_recording(&mut self, incident: &IncidentId) {
        if let Some(recorder) = &mut self.recorder {
            recorder.save(incident);
        }
    }

    /// Ends the recording, if there is one, and says what came of it.
    pub fn finish_recording(&mut self) -> Option<record::Report> {
        self.recorder.take().map(|recorder| recorder.finish())
    }

    /// Takes inputs in their order, and everything that follows from them.
    pub fn feed(&mut self, inputs: impl IntoIterator<Item = Input>) {
        self.pending.extend(inputs);
        self.settle();
    }

    /// Takes records of a trace, in which NFS operations get the numbers that mean the same everywhere.
    pub fn feed_traces(&mut self, records: Vec<Vec<u8>>) {
        for mut record in records {
            self.maps.translate_trace(&mut record);
            self.pending.push_back(Input::Record(record));
        }
        self.settle();
    }

    /// Reads the requests in flight alone: a trace shows what blocks while it blocks.
    pub fn look_at_requests(&mut self) {
        match self.maps.in_flight() {
            Ok(requests) => self.feed([Input::InFlight(requests)]),
            Err(error) => lost(&mut self.reads_failed, "read a map", &error),
        }
    }

    /// Reads the counters, the requests in flight and the losses, then decides.
    pub fn tick(&mut self) {
        let (totals, in_flight) = (self.maps.totals(), self.maps.in_flight());
        let inputs = [totals.map(Input::Totals), in_flight.map(Input::InFlight)];
        for input in inputs {
            match input {
                Ok(input) => self.pending.push_back(input),
                Err(error) => lost(&mut self.reads_failed, "read a map", &error),
            }
        }
        if self.is_missing {
            match self.maps.shadow_writes() {
                Ok(counts) => self.pending.push_back(Input::ShadowWrites(counts)),
                Err(error) => lost(&mut self.reads_failed, "read a map", &error),
            }
        }
        match self.maps.counters() {
            Ok(counters) => self.counters = counters,
            Err(error) => lost(&mut self.reads_failed, "read the counters", &error),
        }
        let trouble = self.recorder.as_ref();
        let trouble = trouble.and_then(|recorder| recorder.trouble());
        if trouble != self.recorder_trouble {
            self.recorder_trouble.clone_from(&trouble);
            self.pending.push_back(Input::Trouble {
                part: RECORDING,
                what: trouble,
            });
        }
        // Last, so that what was not read now is known to be old when it is decided upon.
        self.pending.push_back(Input::Health(self.health()));
        self.pending.push_back(Input::Tick);
        self.is_snapshot_new = true;
        self.settle();
    }

    /// Goes on with other programs that look at FUSE, where it is a module: it came or went.
    pub fn set_fuse(&mut self, fuse: Attached) {
        self.checker = fuse.checker;
        let kept = self.maps.replace_module_programs(fuse.programs);
        self.note("keep what programs missed", kept);
        // Its functions lie elsewhere when it comes again.
        let unset = self.maps.set_abort_causes(&[]);
        self.note("forget the causes of aborts", unset);
        self.take_health(fuse.probes);
    }

    /// Goes on with other programs that look at NFS.
    pub fn set_nfs(&mut self, nfs: Attached) {
        let kept = self.maps.replace_nfs_programs(nfs.programs);
        self.note("keep what programs missed", kept);
        self.take_health(nfs.probes);
    }

    /// Goes on with other programs that look at writes where a mount is missing.
    pub fn set_underneath(&mut self, underneath: Attached) {
        let kept = self.maps.replace_underneath(underneath.programs);
        self.note("keep what programs missed", kept);
        self.take_health(underneath.probes);
    }

    fn take_health(&mut self, probes: Vec<ProbeHealth>) {
        for health in probes {
            let mut known = self.probes.iter_mut();
            if let Some(known) = known.find(|known| known.probe == health.probe) {
                *known = health;
            }
        }
        // The next decision may come before the next regular one.
        let health = self.health();
        self.feed([Input::Health(health)]);
    }

    /// Tells programs and observer where the kernel's functions lie; what was known stays where that
    /// is not shown.
    pub fn set_symbols(&mut self, symbols: &Symbols) {
        let functions = symbols.wait_functions();
        let unseen = |what, count| Input::Unseen { what, count };
        self.feed([
            unseen(SYMBOLS_TO_COME, 0),
            unseen(
                "list of kernel symbols: /proc/kallsyms cannot be read or shows no addresses, which needs \
                 CAP_SYSLOG and kernel.kptr_restrict below 2",
                u64::from(functions.is_empty()),
            ),
        ]);
        if functions.is_empty() {
            return;
        }
        let set = self.maps.set_wait_functions(&functions);
        self.note("set the wait functions", set);
        let set = self.maps.set_abort_causes(&symbols.abort_causes());
        self.note("set the causes of aborts", set);
        self.feed([Input::WaitFunctions(functions)]);
    }

    /// Whether some mount table shows a FUSE mount.
    pub fn shows_fuse(&self) -> bool {
        self.session.shows_fuse()
    }

    /// Tells the observer what it has to know of this machine.
    pub fn set_facts(&mut self, facts: &KernelFacts) {
        self.feed([
            Input::Layout {
                is_described: facts.assumed.is_empty(),
            },
            Input::Unseen {
                what: "/proc that hides the processes of others (hidepid), and with them mount namespaces: \
                       needs CAP_SYS_PTRACE",
                count: u64::from(facts.hides_processes),
            },
        ]);
    }

    /// What a trace has to show since the last call.
    pub fn take_lines(&mut self) -> Vec<Line> {
        self.session.take_lines()
    }

    /// The trace, if there is one.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.session.tracer()
    }

    /// Tells the programs what a trace wants to see now.
    pub fn set_trace(&mut self, filter: &KernelFilter) {
        let set = self.maps.set_trace(filter);
        self.note("set the filter of the trace", set);
    }

    /// Says that the list of the kernel's symbols is still being read.
    pub fn await_symbols(&mut self) {
        self.feed([Input::Unseen {
            what: SYMBOLS_TO_COME,
            count: 1,
        }]);
    }

    /// Whether the next tick should not wait for its turn.
    pub fn is_due(&self, ticked: Mono, now: Mono) -> bool {
        self.session.is_due(ticked, now)
    }

    /// Asks for the state of connections and takes the answers, all of them before anything is
    /// decided. Says which are still connected; one that cannot be asked is not.
    pub fn check(&mut self, connections: &[(u64, Dev)]) -> Vec<bool> {
        let answers: Vec<Option<ConnectionCheck>> = connections
            .iter()
            .map(|&(connection_ptr, dev)| self.ask(connection_ptr, dev))
            .collect();
        let are_connected = answers
            .iter()
            .map(|answer| {
                answer
                    .and_then(|answer| answer.state)
                    .is_some_and(|state| state.is_connected)
            })
            .collect();
        self.feed(answers.into_iter().flatten().map(Input::Connection));
        are_connected
    }

    /// What was asked for since the last call.
    pub fn take_wanted(&mut self) -> Wanted {
        std::mem::take(&mut self.wanted)
    }

    /// The snapshot, if there was a decision since the last call.
    pub fn take_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        std::mem::take(&mut self.is_snapshot_new).then(|| self.session.snapshot())
    }

    /// What is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.session.snapshot()
    }

    /// Goes on with other thresholds and another scope.
    pub fn reconfigure(&mut self, config: &Config) -> Result<(), ScopeError> {
        let effects = self.session.reconfigure(config)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.reconfigure(clock::now(), config);
        }
        let result = self.maps.set_slow_ns(slow_ns(config));
        self.note("set the slow threshold", result);
        for effect in effects {
            self.carry_out(effect);
        }
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            while let Some(input) = self.pending.pop_front() {
                let now = clock::now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.note(now, &input);
                }
                for effect in self.session.step(now, input) {
                    self.carry_out(effect);
                }
            }
            if !std::mem::take(&mut self.is_tick_wanted) {
                return;
            }
            self.is_snapshot_new = true;
            self.pending.push_back(Input::Tick);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Transition(transition) => {
                log::transition(&transition);
                self.wanted.told.push(*transition);
            }
            Effect::Keep(incident) => self.wanted.kept.push(*incident),
            Effect::KeepRun(run) => self.wanted.runs.push(*run),
            Effect::Recover(job) => self.wanted.recover.push(job),
            Effect::ScanSuspicion => self.wanted.suspicion = true,
            Effect::ScanHolders => self.wanted.holders = true,
            Effect::FollowExit(connections) => self.wanted.exits.extend(connections),
            Effect::ReadMountinfo(namespaces) => self.wanted.tables.extend(namespaces),
            Effect::FindUnits(pids) => self.wanted.units.extend(pids),
            Effect::NameAddresses(addresses) => self.wanted.addresses.extend(addresses),
            Effect::WatchMissing(missing) => {
                let result = self.maps.watch_missing(&missing);
                self.note("watch a mount point", result);
                self.wanted.is_missing = Some(!missing.is_empty());
                self.is_missing = !missing.is_empty();
            }
            Effect::FindWaitFunctions => self.wanted.symbols = true,
            Effect::ListFiles { dev, is_fuse } => {
                self.wanted.files.insert(dev, is_fuse);
            }
            Effect::FollowNfs(superblocks) => self.wanted.nfs = Some(superblocks),
            Effect::TickNow => self.is_tick_wanted = true,
            Effect::ReadLinks { tid, dfd } => {
                self.pending.push_back(Input::Links(links::of(tid, dfd)));
            }
            Effect::CheckConnections(connections) => {
                for (connection_ptr, dev) in connections {
                    let answer = self.ask(connection_ptr, dev).map(Input::Connection);
                    self.pending.extend(answer);
                }
            }
            Effect::ForgetRequests(requests) => {
                self.maps.forget_requests(&requests);
            }
            Effect::WatchServers(processes) => {
                let result = self.maps.watch_servers(&processes);
                self.note("watch a server", result);
            }
            Effect::WatchSuperblocks(devs) => {
                let result = self.maps.watch_superblocks(&devs);
                self.note("watch a superblock", result);
            }
            Effect::WatchMountPoints(mount_points) => {
                let result = self.maps.watch_mount_points(&mount_points);
                self.note("watch a mount point", result);
            }
        }
    }

    fn ask(&self, connection_ptr: u64, dev: Dev) -> Option<ConnectionCheck> {
        match self.checker.as_ref()?.check(connection_ptr, dev) {
            Ok(answer) => Some(answer),
            Err(error) => {
                failed("check a connection", &error);
                None
            }
        }
    }

    fn health(&self) -> KernelHealth {
        let own = [
            ("lost_map_reads", self.reads_failed),
            ("lost_watches", self.watches_failed),
        ];
        let recorder = self.recorder.as_ref();
        let recorder = recorder.map(|recorder| (NOT_RECORDED, recorder.lost()));
        let counters = self.counters.iter().copied().chain(own);
        KernelHealth {
            counters: counters.chain(recorder).collect(),
            maps: self.maps.fill_levels(),
            probes: self.probes.clone(),
        }
    }

    fn note(&mut self, what: &'static str, result: Result<(), MapsError>) {
        if let Err(error) = result {
            lost(&mut self.watches_failed, what, &error);
        }
    }
}

/// Operations that take at least this long are counted as slow and leave a record.
pub fn slow_ns(config: &Config) -> u64 {
    u64::try_from(config.detect.slow_p99.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts a failure that hides something. One that repeats is logged ever more rarely.
fn lost(count: &mut u64, what: &'static str, error: &MapsError) {
    *count += 1;
    if count.is_power_of_two() {
        failed(what, error);
    }
}

/// The observer shows what it could not see by itself; the log says why.
fn failed(what: &'static str, error: &dyn std::error::Error) {
    let cause = error.source().map(ToString::to_string);
    tracing::warn!(%error, cause, "cannot {what}");
}

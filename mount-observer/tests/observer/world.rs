//! A model of the kernel, and of the shell that reads it.
//!
//! It keeps what the programs and iterators would report, speaks the same wire types, and answers
//! every effect of the observer the way the daemon does. Time is whole nanoseconds since boot.

mod incidents;
mod readings;
mod records;
mod traces;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

use mount_observer::{
    alert::{AlertKind, Change, Transition},
    config::Config,
    incident::Incident,
    input::{ConnectionCheck, ConnectionState, Effect, Input, Links, SelfInfo},
    render::alert_line,
    session::Session,
    superblock::Dev,
    time::{Mono, Now, Wall},
    trace::{Line, Options},
};
use mount_observer_common::{AbortCause, Op, TotalsValue, bucket_of};
use zerocopy::IntoBytes;

use crate::show;

pub(crate) use readings::{FUSE_PROBES, PROBES};
pub(crate) use records::Failed;
pub(crate) use traces::{Traced, session};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// When the scenario begins, so that things can be older than it.
pub(crate) const START: u64 = 1_000 * SECOND;
/// Answers that lead to further questions, one inside the other.
const DEPTH_MAX: u32 = 32;
/// Functions in which tasks wait; the model's addresses are 0x1000 apart.
const FUNCTIONS: [&str; 6] = [
    "request_wait_answer",
    "fuse_get_req",
    "fuse_lock_inode",
    "rpc_wait_bit_killable",
    "folio_wait_bit_common",
    "fanotify_handle_event",
];

/// A process and its name: `bindfs[99]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) comm: String,
    pub(crate) pid: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) dev: String,
    pub(crate) fstype: String,
    /// Escaped, as the kernel writes it.
    pub(crate) point: String,
    pub(crate) source: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) connection: u64,
    pub(crate) is_stopped: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) dev: u32,
    pub(crate) is_connected: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) dev: u32,
    pub(crate) opcode: u16,
    pub(crate) caller: Process,
    pub(crate) start: u64,
    /// In the map: the probes saw it sent and no end.
    pub(crate) is_tracked: bool,
    /// On the connection's lists.
    pub(crate) is_queued: bool,
    /// Whether its caller sleeps until it ends.
    pub(crate) is_waited_for: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Sleeper {
    pub(crate) process: Process,
    pub(crate) dev: u32,
    pub(crate) function: String,
    pub(crate) switches: u64,
    pub(crate) is_interruptible: bool,
    /// When its call began, where a program saw that.
    pub(crate) since: u64,
    /// Whether its path is walked, and it waits for attributes.
    pub(crate) has_walked: bool,
    /// The FUSE superblock it asks, 0 for none.
    pub(crate) cause: u32,
}

/// The whole of it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct World {
    pub(crate) session: Session,
    pub(crate) config: Config,
    /// What a trace beside the observer is to do, if there is one.
    pub(crate) trace: Option<Options>,
    /// Whether its lines are kept, rather than shown.
    pub(crate) keeps_lines: bool,
    pub(crate) lines: Vec<Line>,
    pub(crate) now: u64,
    pub(crate) tables: BTreeMap<u32, Vec<Mount>>,
    pub(crate) servers: Vec<Server>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) sleepers: BTreeMap<u32, Sleeper>,
    pub(crate) totals: BTreeMap<(u32, u16, u16), TotalsValue>,
    pub(crate) counters: BTreeMap<&'static str, u64>,
    pub(crate) missing_probes: BTreeSet<&'static str>,
    pub(crate) is_scanning: bool,
    /// Whether the requests queued on a connection are not listed.
    pub(crate) hides_queues: bool,
    pub(crate) links: BTreeMap<u32, (String, String)>,
    pub(crate) log: String,
    /// Superblock, kind and change of every transition.
    pub(crate) transitions: Vec<(String, AlertKind, Change)>,
    depth: u32,
    watched: Vec<u32>,
    /// Connections to check once their server is gone.
    following: Vec<(u64, Dev)>,
    scanned_at: Option<u64>,
    /// Whether a program sits where connections are aborted and descriptors closed.
    pub(crate) sees_aborts: bool,
    /// How far off the numbers are that are read from the wrong place.
    pub(crate) misread_by: u32,
    /// Those off FUSE where it is a module; with them goes every way to look at it.
    pub(crate) resting_probes: BTreeSet<&'static str>,
    /// Whether mount tables are read and not handed on.
    pub(crate) is_reading_slowly: bool,
    /// Read, and not handed on yet.
    late: VecDeque<Input>,
    /// What the journal holds, by id.
    pub(crate) journal: BTreeMap<String, Incident>,
    pub(crate) journal_writes: u64,
}

impl World {
    pub(crate) fn new(config: Config, info: SelfInfo, trace: Option<Options>) -> Self {
        let mut world = Self {
            session: session(&config, info, trace.as_ref()),
            trace,
            keeps_lines: false,
            lines: Vec::new(),
            config,
            now: START,
            tables: BTreeMap::new(),
            servers: Vec::new(),
            connections: BTreeMap::new(),
            requests: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            totals: BTreeMap::new(),
            counters: BTreeMap::new(),
            missing_probes: BTreeSet::new(),
            is_scanning: true,
            hides_queues: false,
            links: BTreeMap::new(),
            log: String::new(),
            transitions: Vec::new(),
            depth: 0,
            watched: Vec::new(),
            following: Vec::new(),
            scanned_at: None,
            sees_aborts: false,
            misread_by: 0,
            resting_probes: BTreeSet::new(),
            is_reading_slowly: false,
            late: VecDeque::new(),
            journal: BTreeMap::new(),
            journal_writes: 0,
        };
        world.feed(Input::WaitFunctions(Self::functions()));
        world
    }

    /// Seconds since the scenario began.
    pub(crate) fn elapsed(&self) -> u64 {
        self.now - START
    }

    /// Lets time pass; the shell ticks at every whole second.
    pub(crate) fn advance(&mut self, to: u64) {
        let to = START + to;
        assert!(to >= self.now, "time runs forward");
        while self.now / SECOND < to / SECOND {
            self.now = (self.now / SECOND + 1) * SECOND;
            self.tick();
        }
        self.now = to;
    }

    /// The shell says what is attached, and what was lost.
    pub(crate) fn note_health(&mut self) {
        self.feed(Input::Health(self.health()));
    }

    /// What the shell does once a second.
    pub(crate) fn tick(&mut self) {
        self.note_health();
        self.feed(Input::Totals(self.totals_reading()));
        self.feed(Input::InFlight(self.in_flight_reading()));
        let scan = self.tasks(false);
        self.feed(Input::Tasks {
            scan,
            is_full: false,
        });
        self.feed(Input::Tick);
    }

    pub(crate) fn read_totals(&mut self) {
        self.feed(Input::Totals(self.totals_reading()));
    }

    /// The configuration is read again, with one more type of filesystem left out.
    pub(crate) fn exclude(&mut self, fstype: &str) {
        self.config.scope.exclude_fstypes.push(fstype.to_owned());
        for effect in self.session.reconfigure(&self.config).unwrap() {
            self.answer(effect);
        }
    }

    pub(crate) fn read_table(&mut self, mnt_ns: u32) {
        let table = self.table(mnt_ns);
        if self.is_reading_slowly {
            self.late.push_back(table);
        } else {
            self.feed(table);
        }
    }

    /// What a reader of the table has in hand now.
    fn table(&self, mnt_ns: u32) -> Input {
        let mut bytes = Vec::new();
        for mount in self.tables.get(&mnt_ns).into_iter().flatten() {
            let line = format!(
                "{} {} {} / {} rw,relatime - {} {} rw\n",
                mount.id, mount.parent, mount.dev, mount.point, mount.fstype, mount.source
            );
            bytes.extend(line.into_bytes());
        }
        Input::Mountinfo {
            mnt_ns,
            is_own: mnt_ns == 1,
            read_at: Mono(self.now),
            bytes,
        }
    }

    /// Something is read now and handed on later.
    pub(crate) fn read_early(&mut self, what: &str) -> Option<()> {
        self.late.push_back(match what {
            "table" => self.table(1),
            "holders" => Input::Holders(self.holders()),
            _ => return None,
        });
        Some(())
    }

    /// What was read first is handed on.
    pub(crate) fn hand_on(&mut self) -> Option<()> {
        let input = self.late.pop_front()?;
        self.feed(input);
        Some(())
    }

    pub(crate) fn feed(&mut self, input: Input) {
        let now = Now {
            mono: Mono(self.now),
            wall: Wall(self.now),
        };
        self.depth += 1;
        assert!(self.depth < DEPTH_MAX, "answers lead to questions for ever");
        let effects = self.session.step(now, input);
        self.show_lines();
        for effect in effects {
            self.answer(effect);
        }
        self.depth -= 1;
    }

    fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Transition(transition) => self.tell(&transition),
            Effect::Keep(incident) => self.keep(&incident),
            Effect::ScanSuspicion => self.scan_all(),
            Effect::ScanHolders => {
                self.look_at_holders();
            }
            Effect::WatchServers(pids) => self.watched = pids,
            Effect::FollowExit(all) => self.following.extend(all),
            Effect::CheckConnections(all) => {
                for (address, dev) in all {
                    self.check(address, dev);
                }
            }
            Effect::ReadMountinfo(namespaces) => {
                for mnt_ns in namespaces {
                    self.read_table(mnt_ns);
                }
            }
            Effect::ForgetRequests(requests) => {
                for (address, start) in requests {
                    let found = self.requests.get_mut(&address);
                    if let Some(request) = found.filter(|request| request.start == start) {
                        request.is_tracked = false;
                    }
                }
            }
            Effect::ReadLinks { tid, dfd } => {
                let links = self.links.get(&tid).cloned();
                let (root, base) = links.map_or((None, None), |(r, b)| (Some(r), Some(b)));
                self.feed(Input::Links(Links {
                    tid,
                    dfd,
                    root: root.map(String::into_bytes),
                    base: base.map(String::into_bytes),
                }));
            }
            Effect::TickNow => self.feed(Input::Tick),
            Effect::WatchSuperblocks(_)
            | Effect::WatchMountPoints(_)
            | Effect::KeepRun(_)
            | Effect::Recover(_)
            | Effect::NameAddresses(_)
            | Effect::FindUnits(_)
            | Effect::FollowNfs(_)
            | Effect::ListFiles { .. }
            | Effect::WatchMissing(_)
            | Effect::FindWaitFunctions => {}
        }
    }

    /// Both iterators, at most once a second.
    fn scan_all(&mut self) {
        if self.scanned_at == Some(self.now / SECOND) {
            return;
        }
        self.scanned_at = Some(self.now / SECOND);
        self.look_at_holders();
        let scan = self.tasks(true);
        self.feed(Input::Tasks {
            scan,
            is_full: true,
        });
    }

    fn sees_fuse(&self) -> bool {
        self.resting_probes.is_empty()
    }

    /// Nothing looks at them while FUSE is away.
    fn look_at_holders(&mut self) {
        if self.sees_fuse() {
            let scan = self.holders();
            self.feed(Input::Holders(scan));
        }
    }

    fn check(&mut self, address: u64, dev: Dev) {
        if !self.sees_fuse() {
            return;
        }
        let found = self.connections.get(&address).filter(|c| c.dev == dev.0);
        let state = found.map(|connection| ConnectionState {
            is_connected: connection.is_connected,
            waiting: self.waiting(dev.0),
        });
        self.feed(Input::Connection(ConnectionCheck { dev, state }));
    }

    /// A server's exit: its record if it is watched, and the end of its connections if it was the last.
    pub(crate) fn exit(&mut self, process: &Process, status: u32) {
        if self.watched.contains(&process.pid) {
            let record = self.record(5, 0, 0, status, process);
            self.feed(Input::Record(record.as_bytes().to_vec()));
        }
        let held: Vec<u64> = self.servers_of(process).map(|s| s.connection).collect();
        self.servers.retain(|server| server.process != *process);
        for connection in held {
            if !self.servers.iter().any(|s| s.connection == connection) {
                self.abort(connection, AbortCause::ServerExit, process);
            }
        }
        self.follow();
    }

    fn servers_of(&self, process: &Process) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(move |s| s.process == *process)
    }

    /// A connection ends, and with it whatever waits on it.
    pub(crate) fn abort(&mut self, address: u64, cause: AbortCause, by: &Process) {
        let found = self.connections.get(&address).copied();
        let Some(Connection { dev, is_connected }) = found else {
            return;
        };
        if is_connected && self.sees_aborts && self.sees_fuse() {
            self.record_abort(dev, cause, by);
        }
        let ended = Connection {
            dev,
            is_connected: false,
        };
        self.connections.insert(address, ended);
        let of_dev = |request: &Request| request.dev == dev && request.is_queued;
        let all = self.requests.iter().filter(|(_, request)| of_dev(request));
        let aborted: Vec<u64> = all.map(|(number, _)| *number).collect();
        for number in aborted {
            self.end(number, 103).unwrap();
        }
        self.follow();
    }

    /// Looks at what was asked for, a moment later.
    fn follow(&mut self) {
        for (address, dev) in std::mem::take(&mut self.following) {
            self.check(address, dev);
        }
    }

    /// A request ends; its end is counted, and recorded when it failed badly.
    pub(crate) fn end(&mut self, number: u64, errno: u16) -> Option<()> {
        let request = self.requests.remove(&number)?;
        let latency = self.now - request.start;
        let latency = request.is_tracked.then_some(latency);
        let op = Op::Fuse(request.opcode).to_wire();
        self.count(request.dev, op, errno, 1, latency);
        self.trace_request(number, &request, errno);
        if matches!(errno, 5 | 103 | 107) {
            let record = self.record(
                1,
                u32::from(op),
                request.dev,
                u32::from(errno),
                &request.caller,
            );
            self.feed(Input::Record(record.as_bytes().to_vec()));
        }
        Some(())
    }

    /// Counts operations in the totals.
    pub(crate) fn count(
        &mut self,
        dev: u32,
        op: u16,
        errno: u16,
        count: u64,
        latency: Option<u64>,
    ) {
        let threshold = u64::try_from(self.config.detect.slow_p99.as_nanos()).unwrap();
        let total = self
            .totals
            .entry((dev, op, errno))
            .or_insert(TotalsValue::ZERO);
        total.count += count;
        total.last_ns = self.now;
        if let Some(latency) = latency {
            total.sum_ns += latency * count;
            let bucket = usize::try_from(bucket_of(latency)).unwrap();
            total.buckets[bucket] += u32::try_from(count).unwrap();
            total.slow += if latency >= threshold { count } else { 0 };
        }
    }

    fn tell(&mut self, transition: &Transition) {
        let superblock = alert_line::superblock(transition);
        let told = (superblock, transition.kind, transition.change);
        self.transitions.push(told);
        let to = match transition.change {
            Change::Firing => "firing".to_owned(),
            Change::Resolved { why } => format!("resolved {why:?}").to_lowercase(),
        };
        let at = self.elapsed() / 1_000_000;
        writeln!(
            self.log,
            "@{}.{:03}s {to}: {} {:?} {} {} since {:+}ms: {}",
            at / 1000,
            at % 1000,
            transition.kind.name(),
            transition.severity,
            alert_line::superblock(transition),
            transition.mountpoint,
            i128::from(transition.since.0) / 1_000_000 - i128::from(START) / 1_000_000,
            transition.reason,
        )
        .unwrap();
        for lower in &transition.caused_by {
            writeln!(self.log, "    caused by {lower}").unwrap();
        }
        for victim in &transition.victims {
            writeln!(self.log, "    victim {}", show::victim(victim)).unwrap();
        }
    }
}

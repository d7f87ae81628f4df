//! The observer: takes what was learnt, decides on ticks, says what to do.
//!
//! One function, [`Observer::step`], is run live, in replay and in tests. It reads no clock, file
//! or environment. Inputs only update what is known; alerts move on [`Input::Tick`] alone, except
//! that a superblock which goes away ends its alert at once.

mod blame;
mod expected;
mod flow;
mod fuse;
mod identity;
mod incidents;
mod index;
mod publish;
mod recovery;
mod risk;
mod tick;
mod units;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    alert::{AlertKind, Change, Resolution, Transition},
    alerts::Step,
    blocked::Waiters,
    config::{Config, Detect},
    counters::Windows,
    expected::Expected,
    health::Health,
    incident::{Ledger, Place},
    input::{Effect, Input, MissingMount, MountPoint, SelfInfo},
    mounts::Mounts,
    paths::PendingPaths,
    recovery::Recoveries,
    requests::{Forget, Requests},
    scope::{Scope, ScopeError},
    snapshot::{Mount, ObserverHealth, Snapshot, namespace_elsewhere},
    superblock::{Dev, SuperblockId},
    time::{Mono, Now, nanos},
    totals::Totals,
    units::Units,
    watched::Watched,
};

use identity::Epochs;

/// Everything known, and everything decided.
#[derive(Debug)]
pub struct Observer {
    config: Detect,
    scope: Scope,
    info: SelfInfo,
    now: Now,
    mounts: Mounts,
    superblocks: BTreeMap<Dev, Watched>,
    out_of_scope: u64,
    epochs: Epochs,
    requests: Requests,
    waiters: Waiters,
    totals: Totals,
    /// Operations attributed by path, for the next reading of the totals to give away.
    attributed: Vec<flow::Attributed>,
    paths: PendingPaths,
    health: Health,
    expected: Expected,
    recoveries: Recoveries,
    /// Alerts of recoveries that did not help, by mount point.
    failed_recoveries: BTreeMap<String, Transition>,
    ledger: Ledger,
    units: Units,
    sysctls: Vec<(String, String)>,
    asked: Asked,
    transitions: BTreeMap<(AlertKind, &'static str), u64>,
    snapshot: Arc<Snapshot>,
    effects: Vec<Effect>,
}

/// What the shell was last asked to watch, and when it was last asked to look.
#[derive(Debug, Default)]
struct Asked {
    servers: BTreeSet<u32>,
    superblocks: BTreeSet<Dev>,
    mount_points: Vec<MountPoint>,
    connections_at: Option<Mono>,
    /// The last idle connection that was looked at; the next look goes on behind it.
    connections_up_to: Option<Dev>,
    full_scan_at: Option<Mono>,
    names_at: Option<Mono>,
    suspects: BTreeMap<Dev, Mono>,
    /// Types of filesystems whose wait functions were asked for.
    fstypes: BTreeSet<String>,
    /// The NFS superblocks whose operations are counted.
    nfs: Vec<SuperblockId>,
    /// The mounts below whose mount points writes are counted.
    missing: Vec<MissingMount>,
}

impl Observer {
    /// An observer that knows nothing yet.
    pub fn new(config: &Config, info: SelfInfo) -> Result<Self, ScopeError> {
        Ok(Self {
            config: config.detect,
            scope: Scope::new(&config.scope)?,
            info,
            now: Now::default(),
            mounts: Mounts::default(),
            superblocks: BTreeMap::new(),
            out_of_scope: 0,
            epochs: Epochs::default(),
            requests: Requests::default(),
            waiters: Waiters::default(),
            totals: Totals::default(),
            attributed: Vec::new(),
            paths: PendingPaths::default(),
            health: Health::default(),
            expected: expected(config),
            recoveries: Recoveries::new(&config.recovery, &config.recover),
            failed_recoveries: BTreeMap::new(),
            ledger: Ledger::new(info.boot.to_string()),
            sysctls: Vec::new(),
            units: Units::default(),
            asked: Asked::default(),
            transitions: BTreeMap::new(),
            snapshot: Arc::new(empty_snapshot()),
            effects: Vec::new(),
        })
    }

    /// Takes new settings. The alerts of superblocks that leave the scope end.
    pub fn reconfigure(&mut self, config: &Config) -> Result<Vec<Effect>, ScopeError> {
        self.scope = Scope::new(&config.scope)?;
        self.config = config.detect;
        self.reconfigure_recovery(config);
        self.expected
            .configure(&config.expect.mount_points, config.expect.missing_after);
        self.reconcile(Resolution::Excluded);
        self.look_for_expected();
        // Also where nothing is expected any more.
        self.watch_missing();
        self.keep_incidents();
        Ok(std::mem::take(&mut self.effects))
    }

    /// Takes one input; says what to do about it. A `now` before the last one counts as the last.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        if now.mono >= self.now.mono {
            self.now = now;
        }
        match input {
            Input::Record(bytes) => self.on_record(&bytes),
            Input::Totals(reading) => self.on_totals(&reading),
            Input::InFlight(reading) => self.on_in_flight(&reading),
            Input::Holders(scan) => self.on_holders(&scan),
            Input::Tasks { scan, is_full } => self.on_tasks(&scan, is_full),
            Input::ShadowWrites(counts) => self.on_shadow_counts(&counts),
            Input::Files { scan, superblocks } => self.on_files(&scan, &superblocks),
            Input::Connection(check) => self.on_connection(&check),
            Input::Mountinfo {
                mnt_ns,
                is_own,
                read_at,
                bytes,
            } => self.on_mountinfo(mnt_ns, is_own, read_at, &bytes),
            Input::Namespaces(existing) => self.on_namespaces(&existing),
            Input::Waiting(all) => self.on_waiting(&all),
            Input::WaitFunctions(functions) => self.waiters.set_functions(functions),
            Input::Names(names) => self.waiters.set_names(names),
            Input::Links(links) => self.on_links(&links),
            Input::Units(answers) => self.on_units(&answers),
            Input::Health(health) => self.health.update(self.now.mono, health),
            Input::Unseen { what, count } => self.health.unseen(what, count),
            Input::Layout { is_described } => self.health.set_layout(is_described),
            Input::RecoveryEnabled(is_enabled) => self.recoveries.set_enabled(is_enabled),
            Input::RecoveryRuns(runs) => self.on_recovery_runs(runs),
            Input::RecoveryDone {
                run,
                outcome,
                detail,
            } => self.on_recovery_done(&run, outcome, detail),
            Input::Remembered(incidents) => self.on_remembered(incidents),
            Input::Sysctls(sysctls) => self.sysctls = sysctls,
            Input::Trouble { part, what } => self.health.trouble(part, what),
            // A trace's own.
            Input::TraceGroups(_) => {}
            Input::Tick => self.on_tick(),
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether a decision is due before the regular one: a request became overdue since the last, or
    /// an end that may have been the beginning of an unmount was none.
    pub fn is_due(&self, ticked: Mono, now: Mono) -> bool {
        let is_overdue = self
            .requests
            .has_reached(self.config.hung_after, ticked, now);
        is_overdue || self.awaits_table(ticked, now)
    }

    /// Whether a table that is read now would settle an end that the last tick's could not.
    fn awaits_table(&self, ticked: Mono, now: Mono) -> bool {
        let mut connections = self.superblocks.values().map(|s| &s.connection);
        connections
            .any(|connection| connection.awaits_table(now) && !connection.awaits_table(ticked))
    }

    /// Whether some mount table shows a FUSE mount, in scope or not.
    pub fn shows_fuse(&self) -> bool {
        self.mounts.shows_fuse()
    }

    /// What was known at the last tick.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    fn windows(&self) -> Windows {
        Windows {
            storm: self.config.storm_window,
            slow: self.config.slow_window,
        }
    }

    /// Tells the kernel side which of its entries never end.
    fn forget(&mut self, forget: Forget) {
        if !forget.is_empty() {
            self.effects.push(Effect::ForgetRequests(forget));
        }
    }

    /// Asks for something once per step.
    fn ask(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }

    /// Tells one change of one alert.
    fn tell(&mut self, transition: Transition) {
        let to = match transition.change {
            Change::Firing => "firing",
            Change::Resolved { .. } => "resolved",
        };
        *self.transitions.entry((transition.kind, to)).or_default() += 1;
        self.effects.push(Effect::Transition(Box::new(transition)));
    }
}

/// One change of one superblock's alert, as it is told.
fn transition(
    now: &Now,
    superblock: &Watched,
    step: Step,
    advice: String,
    place: Place,
) -> Transition {
    let condition = step.condition;
    let since = incidents::began(&place, condition.since);
    let successor = match step.change {
        Change::Resolved {
            why: Resolution::Superseded,
        } => superblock.alerts.firing().map(|next| next.kind),
        Change::Resolved { .. } | Change::Firing => None,
    };
    Transition {
        change: step.change,
        kind: condition.kind,
        severity: condition.severity,
        incident: place.incident,
        returns: place.returns,
        superblock: Some(superblock.id),
        mount_points: mount_points(&superblock.mounted.mounts),
        caused_by: Vec::new(),
        fstype: superblock.mounted.fstype.clone(),
        device: superblock.mounted.device.clone(),
        mountpoint: superblock.mounted.mountpoint.clone(),
        namespace: namespace_elsewhere(&superblock.mounted.mounts),
        successor,
        since,
        since_unix_ns: now.wall_of(since),
        age_ns: nanos(now.mono.since(since)),
        reason: condition.reason,
        evidence: condition.evidence,
        victims: condition.victims,
        victims_total: condition.victims_total,
        advice,
    }
}

/// Where the superblock is mounted, in the observer's own namespace where it is mounted there.
fn mount_points(mounts: &[Mount]) -> Vec<String> {
    let own = mounts.iter().filter(|mount| mount.is_own_namespace);
    let points: BTreeSet<&str> = own.map(|mount| mount.mount_point.as_str()).collect();
    let points = if points.is_empty() {
        mounts
            .iter()
            .map(|mount| mount.mount_point.as_str())
            .collect()
    } else {
        points
    };
    points.into_iter().map(str::to_owned).collect()
}

fn expected(config: &Config) -> Expected {
    let mut expected = Expected::default();
    expected.configure(&config.expect.mount_points, config.expect.missing_after);
    expected
}

fn empty_snapshot() -> Snapshot {
    Snapshot {
        taken_unix_ns: crate::time::Wall::default(),
        taken: Mono::default(),
        superblocks: Vec::new(),
        mounts_seen: 0,
        superblocks_out_of_scope: 0,
        unattributed: Vec::new(),
        expected: Vec::new(),
        observer: ObserverHealth::default(),
    }
}

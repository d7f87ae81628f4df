//! One tick: judge every superblock, move the alerts, ask for what is missing, publish.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    alert::State,
    detect::{self, Sight, Verdict, View},
    input::Effect,
    snapshot,
    superblock::Dev,
    text,
    time::Mono,
    watched::{Service, Status, Watched},
};

use super::{Observer, index::Index, publish};

/// How often connections are looked at.
const CONNECTIONS_EVERY: Duration = Duration::from_millis(900);

/// Idle connections looked at in one go, in turn: a look costs some 4 us, and only finds what no
/// event tells: an abort while the server does not run. Busy ones are looked at every time.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// How often all tasks are scanned where nothing else shows who waits.
const FULL_SCAN_EVERY: Duration = Duration::from_secs(5);

/// Whatever waits this long is looked into; half the threshold where that is shorter.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// How often the functions on the stacks of blocked tasks are asked for: some 50 ms each time.
const NAMES_EVERY: Duration = Duration::from_secs(5);

/// What was found about one superblock before its alert moves.
struct Finding {
    verdict: Verdict,
    is_suspicious: bool,
    draft: publish::Draft,
}

impl Observer {
    pub(super) fn on_tick(&mut self) {
        self.health.took("tick");
        let now = self.now.mono;
        let windows = self.windows();
        let sight = self.health.sight(now, self.info.is_initial_pid_namespace);
        for superblock in self.superblocks.values_mut() {
            superblock.counters.expire(now, windows);
        }
        let findings = self.findings(&sight);
        let mut published = Vec::with_capacity(findings.len());
        let mut is_suspicious = false;
        for (dev, finding) in findings {
            is_suspicious = is_suspicious || finding.is_suspicious;
            published.extend(self.settle(dev, finding));
        }
        if is_suspicious || self.needs_full_scan() || self.health.wants_looks(now) {
            self.ask(Effect::ScanSuspicion);
        }
        self.tick_expected();
        self.name_stacks();
        self.look_after_connections(&sight);
        self.look_at_tables();
        self.watch_servers();
        self.find_units();
        self.keep_incidents();
        self.publish(published, &sight);
        self.recover();
    }

    /// Judges every superblock.
    fn findings(&self, sight: &Sight) -> Vec<(Dev, Finding)> {
        let index = Index::new(self);
        let find = |(&dev, superblock): (&Dev, &Watched)| {
            let requests = index.pending(self, dev, superblock);
            let waiters = index.blocked(self, dev);
            let view = View {
                now: self.now.mono,
                config: &self.config,
                is_single_look: self.info.is_single_look,
                superblock,
                all: &self.superblocks,
                requests: &requests,
                waiters: &waiters,
                sight,
            };
            let finding = Finding {
                verdict: detect::judge(&view),
                is_suspicious: self.is_suspicious(&view, &index),
                draft: publish::draft(&view, &self.waiters),
            };
            (dev, finding)
        };
        self.superblocks.iter().map(find).collect()
    }

    /// Whether a closer look could tell more: something waits, and not by design.
    fn is_suspicious(&self, view: &View<'_>, index: &Index<'_>) -> bool {
        let now = view.now;
        let patience = SUSPICIOUS_AFTER.min(self.config.hung_after / 2);
        let is_late = |since: Mono| now.since(since) >= patience;
        let connection = &view.superblock.connection;
        let known = u32::try_from(view.requests.len()).unwrap_or(u32::MAX);
        let has_unknown = connection.waiting.is_some_and(|waiting| waiting > known)
            && connection.waiting_since.is_some_and(is_late);
        let has_late = view.requests.iter().any(|pending| {
            !pending.request.operation.is_blocking_by_design() && is_late(pending.request.start)
        });
        let dev = view.superblock.id.dev;
        has_unknown || has_late || index.may_wait_for(dev, patience, now)
    }

    /// Stacks are shown by function; the list of all of them is long, and is read on demand.
    fn name_stacks(&mut self) {
        let now = self.now.mono;
        let asked_at = self.asked.names_at;
        if asked_at.is_some_and(|at| now.since(at) < NAMES_EVERY) {
            return;
        }
        let addresses = self.waiters.take_unnamed(now);
        if !addresses.is_empty() {
            self.asked.names_at = Some(now);
            self.ask(Effect::NameAddresses(addresses));
        }
    }

    /// Without a probe that sees requests, only scans show who waits.
    fn needs_full_scan(&self) -> bool {
        let is_blind_to = |superblock: &Watched| superblock.service != Service::Fuse;
        let scanned_at = self.asked.full_scan_at;
        let is_due = scanned_at.is_none_or(|at| self.now.mono.since(at) >= FULL_SCAN_EVERY);
        is_due && self.superblocks.values().any(is_blind_to)
    }

    /// Moves one superblock's alert and state.
    fn settle(&mut self, dev: Dev, finding: Finding) -> Option<snapshot::Superblock> {
        let now = self.now.mono;
        let clear_after = self.config.clear_after;
        let superblock = self.superblocks.get_mut(&dev)?;
        let Verdict { worst, blind } = finding.verdict;
        let is_blind = blind.is_some();
        let is_held_blind = is_blind && worst.is_none();
        let was_firing = superblock.alerts.firing().is_some();
        let steps = superblock.alerts.tick(now, worst, is_blind, clear_after);
        let is_told = superblock.begin_risk(was_firing, &self.now, &steps);
        superblock.status = status(superblock, now, blind);
        if is_held_blind && superblock.alerts.firing().is_some() {
            let evidence = "whether it goes on cannot be seen";
            superblock.status.evidence.push(evidence.to_owned());
        }
        let published = publish::superblock(superblock, finding.draft, &self.now, &self.units);
        // Before what is known by now is lost with an incident that ends.
        self.note_state(dev, Some(&published));
        if !steps.is_empty() {
            self.note_steps(dev, steps);
            self.note_state(dev, Some(&published));
        }
        if is_told {
            self.list_files(dev);
        }
        Some(published)
    }

    fn look_after_connections(&mut self, sight: &Sight) {
        let now = self.now.mono;
        let asked_at = self.asked.connections_at;
        if asked_at.is_some_and(|at| now.since(at) < CONNECTIONS_EVERY) {
            return;
        }
        let connections = self.connections_in_turn();
        // Without the program that asks for one of them, only a scan over all tells their state.
        let is_lost = |superblock: &Watched| {
            let connection = &superblock.connection;
            let is_found = sight.sees_connections && connection.address.is_some();
            superblock.service == Service::Fuse && !is_found && !connection.is_dying()
        };
        if self.superblocks.values().any(is_lost) {
            self.ask(Effect::ScanHolders);
        }
        if !connections.is_empty() {
            self.effects.push(Effect::CheckConnections(connections));
        }
        self.asked.connections_at = Some(now);
    }

    /// Asks for the tables again that were read too early to tell a death from an unmount.
    fn look_at_tables(&mut self) {
        let now = self.now.mono;
        let awaiting = |superblock: &&Watched| superblock.connection.awaits_table(now);
        let devs = self.superblocks.values().filter(awaiting).map(|s| s.id.dev);
        let namespaces: BTreeSet<u32> = devs
            .flat_map(|dev| self.mounts.namespaces_of(dev))
            .collect();
        if !namespaces.is_empty() {
            self.ask(Effect::ReadMountinfo(namespaces.into_iter().collect()));
        }
    }

    /// Every connection with requests in flight, and some of the others.
    fn connections_in_turn(&mut self) -> Vec<(u64, Dev)> {
        let busy: BTreeSet<Dev> = self.requests.iter().map(|request| request.dev).collect();
        let known = self.superblocks.values();
        let (mut looked_at, idle): (Vec<_>, Vec<_>) = known
            .filter_map(|superblock| Some((superblock.connection.address?, superblock.id.dev)))
            .partition(|(_, dev)| busy.contains(dev));
        let up_to = self.asked.connections_up_to;
        let first = idle.partition_point(|(_, dev)| Some(*dev) <= up_to);
        let turn = idle.iter().cycle().skip(first);
        let in_turn = turn.take(IDLE_CONNECTIONS_MAX.min(idle.len()));
        looked_at.extend(in_turn);
        let (_, last) = looked_at.last().copied().unzip();
        self.asked.connections_up_to = last;
        looked_at
    }
}

/// The state to show. An alert that fires is shown until it is resolved, and what we cannot see is
/// never shown as ok.
fn status(superblock: &Watched, now: Mono, blind: Option<String>) -> Status {
    if let Some(condition) = superblock.alerts.firing() {
        let away = superblock.alerts.away_since(now);
        let away = away.map(|away| format!(" (not so for {})", text::age(away)));
        return Status {
            state: condition.kind.state().unwrap_or(State::Unknown),
            since: condition.since,
            severity: Some(condition.severity),
            reason: condition.reason.clone() + away.as_deref().unwrap_or_default(),
            evidence: condition.evidence.clone(),
        };
    }
    let (state, reason) = match blind {
        Some(reason) => (State::Unknown, reason),
        None => (State::Ok, "nothing is overdue".to_owned()),
    };
    let known = &superblock.status;
    Status {
        state,
        since: if known.state == state {
            known.since
        } else {
            now
        },
        severity: None,
        reason,
        evidence: Vec::new(),
    }
}

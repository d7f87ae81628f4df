//! What an incident collects while it goes on: who suffered and how long, which failures, who served
//! it and what became of them. Bounded; what did not fit is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{FailureCount, Incident, IncidentVictim, ServerFate, Stack};
use crate::{
    alert::Victim,
    counters::Counters,
    errno::Errno,
    operation::Operation,
    snapshot::{BlockedTask, Server, ServerStatus},
    time::{Mono, Now, Wall},
};

/// Victims kept by name, some 300 B each; the rest is counted.
const VICTIMS_MAX: usize = 64;
/// Threads told apart for that count; beyond, one that comes again counts again.
const THREADS_MAX: usize = 4096;
/// Stacks kept, some KiB each.
const STACKS_MAX: usize = 16;
/// Kinds of failure counted apart.
const FAILURE_KINDS_MAX: usize = 64;
/// Servers kept.
const SERVERS_MAX: usize = 32;

/// The process or container a process belongs to, where that is known.
pub type UnitOf<'a> = &'a dyn Fn(u32) -> Option<String>;

/// What was collected so far.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// By thread and name: a number that is given again is another victim.
    victims: BTreeMap<(u32, String), IncidentVictim>,
    threads: BTreeSet<u32>,
    victims_total: u64,
    failures: BTreeMap<(Operation, Errno), Failed>,
    /// What was counted before this observer began.
    failures_before: Vec<FailureCount>,
    servers: BTreeMap<u32, ServerFate>,
    stacks: BTreeMap<u32, Stack>,
    /// What did not fit.
    cut: BTreeSet<&'static str>,
}

/// Failures of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Failed {
    /// The counter when the incident began.
    baseline: u64,
    latest: u64,
    peak: u64,
}

impl Evidence {
    /// What an earlier observer collected.
    pub fn resume(incident: &Incident) -> Self {
        let victims = incident.victims.iter().cloned();
        let servers = incident.servers.iter().cloned();
        let stacks = incident.stacks.iter().cloned();
        Self {
            victims: victims
                .map(|victim| ((victim.tid, victim.comm.clone()), victim))
                .collect(),
            threads: incident.victims.iter().map(|victim| victim.tid).collect(),
            victims_total: incident.victims_total,
            failures: BTreeMap::new(),
            failures_before: incident.failures.clone(),
            servers: servers.map(|server| (server.pid, server)).collect(),
            stacks: stacks.map(|stack| (stack.tid, stack)).collect(),
            cut: BTreeSet::new(),
        }
    }

    /// Where counting begins: what failed within the window belongs to the incident that it led to.
    pub fn begin_counting(&mut self, now: Mono, counters: &Counters, window: Duration) {
        let recent = counters.failures(now, window).kinds;
        for count in counters.operations() {
            if let Some(errno) = count.errno
                && count.operation.is_trouble(errno)
                && self.failures.len() < FAILURE_KINDS_MAX
            {
                let kind = (count.operation, errno);
                let own = recent.get(&kind).copied().unwrap_or(0);
                let failed = Failed {
                    baseline: count.count.saturating_sub(own),
                    latest: count.count,
                    peak: 0,
                };
                self.failures.insert(kind, failed);
            }
        }
    }

    /// Takes what the counters say now. Only failures that mean trouble are told.
    pub fn count(&mut self, now: Mono, counters: &Counters, window: Duration) {
        for count in counters.operations() {
            let Some(errno) = count.errno else { continue };
            if !count.operation.is_trouble(errno) {
                continue;
            }
            let kind = (count.operation, errno);
            let is_room = self.failures.len() < FAILURE_KINDS_MAX;
            if is_room || self.failures.contains_key(&kind) {
                self.failures.entry(kind).or_default().latest = count.count;
            } else {
                self.cut.insert("failure_kinds");
            }
        }
        for (kind, recent) in counters.failures(now, window).kinds {
            if let Some(failed) = self.failures.get_mut(&kind) {
                failed.peak = failed.peak.max(recent);
            }
        }
    }

    /// Somebody suffers, or did at that time.
    pub fn suffers(&mut self, now: Now, at: Mono, victim: &Victim, unit_of: UnitOf<'_>) {
        if self.threads.insert(victim.tid) {
            self.victims_total = self.victims_total.saturating_add(1);
            if self.threads.len() > THREADS_MAX {
                self.threads.pop_first();
            }
        }
        let seen = now.wall_of(at);
        let wait = Duration::from_nanos(victim.age_ns.unwrap_or(0));
        let key = self.key_of(victim);
        if let Some(known) = self.victims.get_mut(&key) {
            known.meet(victim, seen);
            known.unit = known.unit.take().or_else(|| unit_of(victim.pid));
            return;
        }
        if self.victims.len() >= VICTIMS_MAX && !self.make_room(victim.age_ns) {
            return;
        }
        let fresh = IncidentVictim {
            pid: victim.pid,
            tid: victim.tid,
            comm: victim.comm.clone(),
            unit: unit_of(victim.pid),
            first_seen_unix_ns: now.wall_of(at.before(wait)),
            last_seen_unix_ns: seen,
            operation: victim.operation.clone(),
            longest_wait_ns: victim.age_ns,
            errno: victim.errno.clone(),
            path: victim.path.clone(),
        };
        self.victims.insert(key, fresh);
    }

    /// Under which name it is known: a request that was found on a queue knows no name, and whoever
    /// sleeps on it does.
    fn key_of(&mut self, victim: &Victim) -> (u32, String) {
        let key = (victim.tid, victim.comm.clone());
        if victim.comm.is_empty() {
            let of_thread = (victim.tid, String::new())..;
            let mut known = self.victims.range(of_thread).map(|(key, _)| key);
            let known = known.next().filter(|(tid, _)| *tid == victim.tid);
            return known.cloned().unwrap_or(key);
        }
        if let Some(mut nameless) = self.victims.remove(&(victim.tid, String::new())) {
            nameless.comm.clone_from(&victim.comm);
            nameless.pid = victim.pid;
            self.victims.insert(key.clone(), nameless);
        }
        key
    }

    /// Whoever waited longer is kept rather than who waited least.
    fn make_room(&mut self, wait_ns: Option<u64>) -> bool {
        let rank = |victim: &IncidentVictim| (victim.longest_wait_ns, victim.last_seen_unix_ns);
        let least = self.victims.iter().min_by_key(|(_, victim)| rank(victim));
        let Some((key, _)) = least.filter(|(_, victim)| victim.longest_wait_ns < wait_ns) else {
            return false;
        };
        let key = key.clone();
        self.victims.remove(&key);
        true
    }

    /// Takes the stacks of those who wait, as they are named by and by.
    pub fn take_stacks(&mut self, tasks: &[BlockedTask]) {
        for task in tasks.iter().filter(|task| !task.stack.is_empty()) {
            if self.stacks.len() >= STACKS_MAX && !self.stacks.contains_key(&task.tid) {
                self.cut.insert("stacks");
                continue;
            }
            let stack = Stack {
                pid: task.pid,
                tid: task.tid,
                comm: task.comm.clone(),
                functions: task.stack.clone(),
            };
            self.stacks.insert(task.tid, stack);
        }
    }

    /// Takes who serves it, and what became of those who did.
    pub fn take_servers(&mut self, servers: &[Server], unit_of: UnitOf<'_>) {
        for server in servers {
            if self.servers.len() >= SERVERS_MAX && !self.servers.contains_key(&server.pid) {
                self.cut.insert("servers");
                continue;
            }
            let known = self.servers.get(&server.pid);
            let unit = known.and_then(|known| known.unit.clone());
            let exit = known.and_then(|known| known.exit.clone());
            let fate = ServerFate {
                pid: server.pid,
                comm: server.comm.clone(),
                unit: unit.or_else(|| unit_of(server.pid)),
                status: status_name(server.status).to_owned(),
                exit: server.exit.clone().or(exit),
            };
            self.servers.insert(server.pid, fate);
        }
    }

    /// Writes all of it into an incident.
    pub fn fill(&self, incident: &mut Incident) {
        let mut victims: Vec<_> = self.victims.values().cloned().collect();
        victims.sort_by_key(|victim| (std::cmp::Reverse(victim.longest_wait_ns), victim.tid));
        incident.victims = victims;
        incident.victims_total = self.victims_total;
        incident.failures = self.failures();
        incident.servers = self.servers.values().cloned().collect();
        incident.stacks = self.stacks.values().cloned().collect();
        incident.cut = self.cut.iter().map(|what| (*what).to_owned()).collect();
    }

    /// The most frequent first.
    fn failures(&self) -> Vec<FailureCount> {
        let mut all = self.failures_before.clone();
        for (&(operation, errno), failed) in &self.failures {
            let count = failed.latest.saturating_sub(failed.baseline);
            if count == 0 {
                continue;
            }
            let (operation, errno) = (operation.to_string(), errno.to_string());
            let same =
                |known: &&mut FailureCount| known.operation == operation && known.errno == errno;
            if let Some(known) = all.iter_mut().find(same) {
                known.count += count;
                known.peak = known.peak.max(failed.peak);
            } else {
                all.push(FailureCount {
                    operation,
                    errno,
                    count,
                    peak: failed.peak,
                });
            }
        }
        all.sort_by_key(|failed| std::cmp::Reverse(failed.count));
        all
    }
}

impl IncidentVictim {
    /// Seen once more.
    fn meet(&mut self, victim: &Victim, seen: Wall) {
        self.last_seen_unix_ns = self.last_seen_unix_ns.max(seen);
        self.longest_wait_ns = self.longest_wait_ns.max(victim.age_ns);
        let keep = |known: &mut Option<String>, new: &Option<String>| {
            if new.is_some() {
                known.clone_from(new);
            }
        };
        keep(&mut self.operation, &victim.operation);
        keep(&mut self.errno, &victim.errno);
        keep(&mut self.path, &victim.path);
    }
}

fn status_name(status: ServerStatus) -> &'static str {
    match status {
        ServerStatus::Running => "running",
        ServerStatus::Stopped => "stopped",
        ServerStatus::Gone => "gone",
        ServerStatus::Unknown => "unknown",
    }
}

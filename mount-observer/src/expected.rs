//! Mounts that should be there: whether they are, by the mount table alone, and what was written
//! underneath while they were not.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    alert::{AlertKind, Severity, Victim},
    alerts::{AlertLife, Condition, Stage, Step},
    decode::ShadowWrite,
    incident::{AtRisk, AtRiskList, AtRiskWhy},
    text,
    time::{Mono, Now, nanos},
};

/// Processes told that wrote underneath, the latest first.
const WRITERS_MAX: usize = 16;

/// How often files open for writing are looked for underneath.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Every mount that should be there, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    mounts: Vec<ExpectedMount>,
    missing_after: Duration,
    looked_at: Option<Mono>,
    /// The programs' counts at the last reading, by place. They begin at zero with each absence.
    counts: BTreeMap<u32, u64>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ExpectedMount {
    /// Where it should be.
    pub path: String,
    /// Since when it has not been.
    pub absent_since: Option<Mono>,
    /// What was written underneath while it was not, since the observer began.
    pub writes: u64,
    /// The same since it went.
    writes_now: u64,
    /// What was written there, or is open for writing.
    pub underneath: AtRiskList,
    written_since: Option<Mono>,
    writers: Vec<Victim>,
    life: AlertLife,
}

impl Expected {
    /// Takes the configuration; what is known of a mount that stays is kept.
    pub fn configure(&mut self, paths: &[String], missing_after: Duration) {
        self.missing_after = missing_after;
        let mut known = std::mem::take(&mut self.mounts);
        for path in paths {
            let path = normal(path);
            let place = known.iter().position(|mount| mount.path == path);
            let mount = place.map_or_else(|| ExpectedMount::new(path), |at| known.swap_remove(at));
            self.mounts.push(mount);
        }
    }

    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ExpectedMount> {
        self.mounts.iter()
    }

    /// Those that are not there, by their place in the configuration.
    pub fn absent(&self) -> impl Iterator<Item = (u32, &ExpectedMount)> {
        let places = (0..).zip(&self.mounts);
        places.filter(|(_, mount)| mount.absent_since.is_some())
    }

    /// Takes a mount table: `is_mounted` says whether something is mounted on a path. Says whether that
    /// changed for any.
    pub fn look(&mut self, now: Mono, is_mounted: impl Fn(&[u8]) -> bool) -> bool {
        let mut has_changed = false;
        for mount in &mut self.mounts {
            let is_there = is_mounted(mount.path.as_bytes());
            has_changed |= is_there != mount.absent_since.is_none();
            if is_there {
                mount.absent_since = None;
            } else if mount.absent_since.is_none() {
                mount.leave(now);
            }
        }
        has_changed
    }

    /// Whether open files should be looked at now.
    pub fn wants_look(&mut self, now: Mono) -> bool {
        let is_due = self.looked_at.is_none_or(|at| now.since(at) >= LOOK_EVERY);
        let is_wanted = is_due && self.absent().next().is_some();
        if is_wanted {
            self.looked_at = Some(now);
        }
        is_wanted
    }

    /// The programs begin to count anew at a place: with an absence, or where another mount had it.
    pub fn begin_counting(&mut self, place: u32) {
        self.counts.remove(&place);
    }

    /// Takes the programs' counts.
    pub fn count(&mut self, now: Mono, counts: &[(u32, u64)]) {
        for &(place, count) in counts {
            let before = self.counts.insert(place, count).unwrap_or(0);
            let mount = usize::try_from(place)
                .ok()
                .and_then(|at| self.mounts.get_mut(at));
            if let Some(mount) = mount.filter(|mount| mount.absent_since.is_some()) {
                mount.add(now, count.saturating_sub(before));
            }
        }
    }

    /// Somebody wrote underneath. The counts count it; this is who it was.
    pub fn on_write(&mut self, now: &Now, write: &ShadowWrite) {
        let place = usize::try_from(write.place).ok();
        let mount = place.and_then(|at| self.mounts.get_mut(at));
        if let Some(mount) = mount.filter(|mount| mount.absent_since.is_some()) {
            mount.note(now, write);
        }
    }

    /// Files that are open for writing: who, and the path.
    pub fn on_open(&mut self, now: &Now, files: &[(Victim, Vec<u8>)]) {
        for mount in &mut self.mounts {
            if mount.absent_since.is_none() {
                continue;
            }
            for (who, path) in files {
                if is_below(&mount.path, path) {
                    mount.note_open(now, who, path);
                }
            }
        }
    }

    /// Moves the alerts; tells their changes by place.
    pub fn tick(&mut self, now: Mono, is_blind: bool, clear_after: Duration) -> Vec<(usize, Step)> {
        let after = self.missing_after;
        let mut steps = Vec::new();
        for (place, mount) in self.mounts.iter_mut().enumerate() {
            let found = mount.condition(now, after);
            let told = mount.life.tick(now, found, is_blind, clear_after);
            steps.extend(told.into_iter().map(|step| (place, step)));
        }
        steps
    }

    /// One of them by its place.
    pub fn at(&self, place: usize) -> Option<&ExpectedMount> {
        self.mounts.get(place)
    }
}

impl ExpectedMount {
    fn new(path: String) -> Self {
        Self {
            path,
            absent_since: None,
            writes: 0,
            writes_now: 0,
            underneath: AtRiskList::default(),
            written_since: None,
            writers: Vec::new(),
            life: AlertLife::default(),
        }
    }

    /// The alert that fires.
    pub fn firing(&self) -> Option<AlertKind> {
        self.life.firing().map(|condition| condition.kind)
    }

    /// The condition of that alert, as last seen.
    pub fn told(&self) -> Option<&Condition> {
        self.life.firing()
    }

    fn leave(&mut self, now: Mono) {
        self.absent_since = Some(now);
        self.writes_now = 0;
        self.written_since = None;
        self.writers.clear();
        self.underneath = AtRiskList::default();
    }

    fn add(&mut self, now: Mono, writes: u64) {
        if writes > 0 {
            self.writes += writes;
            self.writes_now += writes;
            self.written_since.get_or_insert(now);
        }
    }

    fn note(&mut self, now: &Now, write: &ShadowWrite) {
        self.written_since.get_or_insert(write.at);
        let path = text::escaped(&write.path);
        let pid = Some(write.caller.pid).filter(|pid| *pid != 0);
        self.underneath.dropped += u64::from(write.suppressed);
        self.underneath.add(AtRisk {
            operation: write.operation.to_string(),
            why: AtRiskWhy::Underneath,
            errno: None,
            path: Some(path),
            nodeid: None,
            pid,
            comm: pid.map(|_| write.caller.comm.clone()),
            offset: None,
            length: None,
            at_unix_ns: now.wall_of(write.at),
        });
        self.suffer(Victim {
            pid: write.caller.pid,
            tid: write.caller.tid,
            comm: write.caller.comm.clone(),
            operation: Some(write.operation.to_string()),
            age_ns: None,
            errno: None,
            path: Some(text::lossy(&write.path)),
            caused_by: None,
            failed_on: None,
            attribution: None,
        });
    }

    fn note_open(&mut self, now: &Now, who: &Victim, path: &[u8]) {
        self.written_since.get_or_insert(now.mono);
        self.underneath.add(AtRisk {
            operation: "open".to_owned(),
            why: AtRiskWhy::Underneath,
            errno: None,
            path: Some(text::escaped(path)),
            nodeid: None,
            pid: Some(who.pid),
            comm: Some(who.comm.clone()),
            offset: None,
            length: None,
            at_unix_ns: now.wall,
        });
        self.suffer(who.clone());
    }

    fn suffer(&mut self, victim: Victim) {
        self.writers.retain(|known| known.tid != victim.tid);
        self.writers.insert(0, victim);
        self.writers.truncate(WRITERS_MAX);
    }

    fn condition(&self, now: Mono, missing_after: Duration) -> Option<Condition> {
        let since = self.absent_since?;
        let path = text::escaped(self.path.as_bytes());
        let gone = format!("nothing is mounted on {path}");
        if self.written_since.is_none() {
            let is_late = now.since(since) >= missing_after;
            return is_late.then(|| Condition {
                kind: AlertKind::Missing,
                severity: Severity::Critical,
                stage: Stage::Threat,
                since,
                reason: format!("{gone}, where a mount is expected"),
                evidence: Vec::new(),
                victims: Vec::new(),
                victims_total: 0,
            });
        }
        Some(Condition {
            kind: AlertKind::ShadowWrites,
            severity: Severity::Critical,
            stage: Stage::Harm,
            since,
            reason: format!("{gone}, and data is written underneath"),
            evidence: self.evidence(),
            victims: self.writers.clone(),
            victims_total: u64::try_from(self.writers.len()).unwrap_or(u64::MAX),
        })
    }

    fn evidence(&self) -> Vec<String> {
        /// More make an alert nobody reads.
        const TOLD_MAX: usize = 4;
        let mut evidence = Vec::new();
        if self.writes_now > 0 {
            let calls = text::count(self.writes_now, "call");
            evidence.push(format!("{calls} wrote underneath"));
        }
        let entries = self.underneath.entries.iter().rev().take(TOLD_MAX);
        evidence.extend(entries.map(ToString::to_string));
        evidence
    }

    /// What to do about it.
    pub fn advice(&self, kind: AlertKind) -> String {
        let path = text::shell_quoted(&text::escaped(self.path.as_bytes()));
        let mount =
            format!("Mount it: see what `systemctl status {path}` or /etc/fstab says of it.");
        if kind == AlertKind::ShadowWrites {
            format!(
                "Stop those who write there, move what they wrote out of {path}, and only then mount: a mount \
                 hides it."
            )
        } else {
            mount
        }
    }

    /// How long it has been away, ns.
    pub fn absent_ns(&self, now: Mono) -> Option<u64> {
        self.absent_since.map(|since| nanos(now.since(since)))
    }
}

/// A path as mountinfo writes it: one slash between names, none at the end.
pub(crate) fn normal(path: &str) -> String {
    let names = path.split('/').filter(|name| !name.is_empty());
    let path = names.fold(String::new(), |path, name| path + "/" + name);
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

fn is_below(point: &str, path: &[u8]) -> bool {
    let rest = path.strip_prefix(point.as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'/') && rest.len() > 1)
}

#[cfg(test)]
mod tests;

//! Which data may not have been written.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    alert::{AlertKind, Change},
    alerts::Step,
    decode::{self, Caller, Ended, File, Name, Row, Write},
    errno::Errno,
    incident::{AT_RISK_MAX, AtRisk, AtRiskWhy},
    input::{Effect, Scan},
    operation::Operation,
    superblock::Dev,
    text,
    time::{Now, Wall},
    watched::{Service, Watched},
};

use super::Observer;

/// How often open files are looked through for the name of a node that a request failed on.
const NAMES_EVERY: Duration = Duration::from_secs(5);

/// What failed so long before the first evidence of a trouble is taken for a part of it: an end is read a
/// moment after the requests it aborted.
const LOOKBACK: Duration = Duration::from_secs(10);

impl Observer {
    /// A request that was to write something came to nothing.
    pub(super) fn on_write_failed(&mut self, ended: &Ended, write: &Write) {
        let (Some(dev), Some(errno)) = (ended.dev, ended.errno) else {
            return;
        };
        if ended.operation.is_trouble(errno) {
            self.on_failure(dev, ended);
        }
        let now = self.now;
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        let why = match errno {
            _ if write.is_refused => AtRiskWhy::Refused,
            Errno::ECONNABORTED => AtRiskWhy::Aborted,
            _ => AtRiskWhy::Failed,
        };
        let list = &mut superblock.at_risk;
        // Every close sends these, also of a file that was only read.
        let is_close = is_sent_by_close(ended.operation) && why != AtRiskWhy::Failed;
        if is_close && !write.nodeid.is_some_and(|nodeid| list.concerns(nodeid)) {
            return;
        }
        if superblock.alerts.firing().is_none() && list.entries.len() >= AT_RISK_MAX {
            list.forget_before(now.wall_of(now.mono.before(LOOKBACK)));
        }
        list.dropped += u64::from(write.suppressed);
        list.add(AtRisk {
            operation: ended.operation.to_string(),
            why,
            errno: Some(errno.to_string()),
            path: write.name.as_deref().map(text::escaped),
            nodeid: write.nodeid,
            offset: write.offset,
            length: write.length,
            ..by(Some(&ended.caller), now.wall_of(ended.at))
        });
        let asked_at = superblock.files_asked_at;
        let is_recent = asked_at.is_some_and(|at| now.mono.since(at) < NAMES_EVERY);
        if write.name.is_none() && !is_recent {
            self.list_files(dev);
        }
    }

    /// Has the files listed that are open for writing there.
    pub(super) fn list_files(&mut self, dev: Dev) {
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        superblock.files_asked_at = Some(self.now.mono);
        let is_fuse = superblock.service != Service::Kernel;
        self.ask(Effect::ListFiles { dev, is_fuse });
    }

    /// The files that were open for writing a moment ago.
    pub(super) fn on_files(&mut self, scan: &Scan, superblocks: &[Dev]) {
        self.health.took("scan_files");
        let (rows, bad) = decode::rows(&scan.bytes);
        self.health.refuse("rows_undecodable", bad);
        let mut found: BTreeMap<Dev, Vec<File>> = BTreeMap::new();
        for row in rows {
            match row {
                Row::File(file) => found.entry(file.dev).or_default().push(*file),
                Row::Holder(_) | Row::Queued(_) | Row::Task(_) => {
                    self.health.refuse("rows_undecodable", 1);
                }
            }
        }
        let at = self.now.wall_of(scan.begun);
        for files in found.values() {
            self.look_underneath(files);
        }
        let mut is_news = false;
        for dev in superblocks {
            if let Some(superblock) = self.superblocks.get_mut(dev) {
                let files = found.remove(dev).unwrap_or_default();
                is_news |= superblock.take_files(&files, scan.is_complete.then_some(at), at);
            }
        }
        if is_news {
            self.ask(Effect::TickNow);
        }
    }

    /// A superblock is seen for the last time: what it was asked to write and has not answered.
    pub(super) fn keep_in_flight(&mut self, dev: Dev) {
        let now = self.now;
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        if superblock.alerts.firing().is_none() {
            return;
        }
        let requests = self.requests.iter();
        for request in requests.filter(|r| r.dev == dev && r.operation.writes()) {
            superblock.at_risk.add(AtRisk {
                operation: request.operation.to_string(),
                why: AtRiskWhy::InFlight,
                nodeid: Some(request.nodeid),
                ..by(request.caller.as_ref(), now.wall)
            });
        }
    }
}

impl Watched {
    /// Takes the files found open for writing; says whether that is news for an alert. `looked` is when all
    /// files were looked through, if they were.
    fn take_files(&mut self, files: &[File], looked: Option<Wall>, at: Wall) -> bool {
        let mut open = Vec::with_capacity(files.len());
        for file in files {
            let path = file.name.as_ref().map(|name| self.path_of(name));
            if let (Some(nodeid), Some(path)) = (file.nodeid, &path) {
                self.at_risk.name_node(nodeid, path);
            }
            open.push(AtRisk {
                operation: "open".to_owned(),
                why: AtRiskWhy::OpenForWriting,
                path,
                nodeid: file.nodeid,
                offset: Some(file.position),
                length: Some(file.length),
                ..by(Some(&file.caller), at)
            });
        }
        let is_dying = self.connection.is_dying();
        match looked {
            _ if !is_dying && self.alerts.firing().is_none() => return false,
            // What is closed by now was open at the end.
            Some(at) if is_dying => self.at_risk.add_open(at, open),
            Some(at) => self.at_risk.replace_open(at, open),
            None => open.into_iter().for_each(|entry| self.at_risk.add(entry)),
        }
        self.alerts.firing().is_some()
    }

    /// Its alert moved. Says whether something is told that may cost data; what was at risk before the
    /// trouble began is of the past.
    pub(super) fn begin_risk(&mut self, was_firing: bool, now: &Now, steps: &[Step]) -> bool {
        let firing = self.alerts.firing().map(|condition| condition.since);
        if let Some(since) = firing.filter(|_| !was_firing) {
            let from = now.wall_of(since.before(LOOKBACK));
            self.at_risk.forget_before(from);
        }
        steps
            .iter()
            .any(|step| step.change == Change::Firing && step.condition.kind != AlertKind::Slow)
    }

    /// A file's name as a path, escaped; below a mount that shows the root of the filesystem, where the
    /// kernel did not tell the whole of it.
    fn path_of(&self, name: &Name) -> String {
        match name {
            Name::Path(path) => text::escaped(path),
            Name::End(end) => format!(".../{}", text::escaped(end)),
            Name::Below(below) => {
                let below = text::escaped(below);
                let mut mounts = self.mounted.mounts.iter();
                let whole = mounts.find(|mount| mount.root == "/");
                let point = whole.map_or("", |mount| mount.mount_point_escaped.as_str());
                format!("{}/{below}", point.trim_end_matches('/'))
            }
        }
    }
}

/// `FLUSH` and `RELEASE`.
fn is_sent_by_close(operation: Operation) -> bool {
    operation == Operation::fuse(25) || operation == Operation::fuse(18)
}

/// An entry that says who and when; a caller that nobody saw has no number.
fn by(caller: Option<&Caller>, at: Wall) -> AtRisk {
    let caller = caller.filter(|caller| caller.pid != 0);
    AtRisk {
        operation: String::new(),
        why: AtRiskWhy::Failed,
        errno: None,
        path: None,
        nodeid: None,
        pid: caller.map(|caller| caller.pid),
        comm: caller.map(|caller| caller.comm.clone()),
        offset: None,
        length: None,
        at_unix_ns: at,
    }
}

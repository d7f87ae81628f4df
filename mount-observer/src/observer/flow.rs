//! What was learnt about operations: records, totals, requests in flight, waiting tasks, paths.

use std::collections::BTreeMap;

use crate::{
    alert::Victim,
    blocked::Place,
    connection::Exit,
    counters::Delta,
    decode::{self, Ended, Event, Row, Task},
    errno::Errno,
    input::{Effect, InFlightReading, Links, Scan, TotalsReading},
    operation::Operation,
    superblock::Dev,
    time::nanos,
    watched::Failure,
};

use super::Observer;

/// Operations attributed by path that wait for a reading of the totals.
const ATTRIBUTED_MAX: usize = 1024;

/// An operation the totals count without knowing its superblock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributed {
    dev: Dev,
    operation: Operation,
    errno: Option<Errno>,
}

impl Observer {
    pub(super) fn on_record(&mut self, bytes: &[u8]) {
        let Some(event) = decode::event(bytes) else {
            self.health.refuse("records_undecodable", 1);
            return;
        };
        self.health.took("record");
        match event {
            Event::Ended(ended) => match ended.dev {
                Some(dev) => self.on_failure(dev, &ended),
                None => self.locate(ended),
            },
            Event::ServerExit {
                pid,
                status,
                is_oom,
            } => self.on_server_exit(pid, Exit { status, is_oom }),
            Event::ShadowWrite(write) => self.on_shadow_write(&write),
            Event::WriteFailed { ended, write } => self.on_write_failed(&ended, &write),
            Event::Abort { dev, abort } => self.on_abort(dev, abort),
            Event::Release { dev } => self.on_release(dev),
            // The totals count it, and what matters to the observer has a record of its own.
            Event::Traced(_) => {}
        }
    }

    /// Somebody met a failure, or waited long. The totals count it; this is who it was.
    pub(super) fn on_failure(&mut self, dev: Dev, ended: &Ended) {
        if self.superblocks.contains_key(&dev) {
            self.find_unit(ended.caller.pid);
        }
        let by_words = ended.path.as_ref().filter(|path| !path.is_exact);
        let path = ended.path.as_ref().map(|path| path.path.as_slice());
        let failure = Failure {
            at: ended.at,
            victim: Victim {
                pid: ended.caller.pid,
                tid: ended.caller.tid,
                comm: ended.caller.comm.clone(),
                operation: Some(ended.operation.to_string()),
                age_ns: ended.latency.map(nanos),
                errno: ended.errno.map(|errno| errno.to_string()),
                path: path.map(crate::text::lossy),
                caused_by: None,
                failed_on: None,
                attribution: by_words.map(|_| "path"),
            },
        };
        let cause = ended.path.as_ref().and_then(|path| path.cause_dev);
        let failure = match cause.filter(|_| ended.errno.is_some()) {
            Some(cause) => self.blame(dev, cause, failure),
            None => failure,
        };
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        // A failure whose caller nobody saw is counted, and no victim: it would be told as `[0]`.
        if ended.caller.pid != 0 {
            let (at, victim) = (failure.at, failure.victim.clone());
            superblock.add_failure(failure);
            self.note_victim(dev, at, &victim);
        }
        if let Some(errno) = ended.errno {
            self.suspect(dev, errno);
        }
    }

    /// Finds out where a path led whose superblock the kernel side could not tell.
    fn locate(&mut self, ended: Ended) {
        let Some(argument) = &ended.path else {
            return;
        };
        let effect = Effect::ReadLinks {
            tid: ended.caller.tid,
            dfd: argument.dfd,
        };
        self.paths.push(ended);
        self.ask(effect);
    }

    pub(super) fn on_links(&mut self, links: &Links) {
        self.health.took("links");
        for (ended, path) in self.paths.take(links) {
            let dev = ended
                .mnt_ns
                .and_then(|mnt_ns| self.mounts.dev_of_path(mnt_ns, &path));
            let Some(dev) = dev.filter(|dev| self.superblocks.contains_key(dev)) else {
                continue;
            };
            if self.attributed.len() < ATTRIBUTED_MAX {
                self.attributed.push(Attributed {
                    dev,
                    operation: ended.operation,
                    errno: ended.errno,
                });
            } else {
                self.health.refuse("paths_refused", 1);
            }
            self.on_failure(dev, &ended);
        }
    }

    pub(super) fn on_totals(&mut self, reading: &TotalsReading) {
        self.health.took("totals");
        for delta in self.totals.update(decode::totals(reading)) {
            self.count(&delta);
        }
        for attributed in std::mem::take(&mut self.attributed) {
            self.give(attributed);
        }
    }

    fn count(&mut self, delta: &Delta) {
        let outcome = delta.outcome;
        let Some(dev) = outcome.dev else {
            self.totals.add_unattributed(delta);
            return;
        };
        let now = self.now.mono;
        let windows = self.windows();
        let failed = (outcome.errno).filter(|errno| outcome.operation.is_trouble(*errno));
        let superblock = self.superblocks.get_mut(&dev).filter(|superblock| {
            // The last failures of a superblock whose number was taken over are not its successor's.
            let is_late = superblock.id.epoch > 0 && delta.total.last <= superblock.first_seen;
            failed.is_none() || !is_late
        });
        let Some(superblock) = superblock else {
            self.totals.elsewhere += delta.total.count;
            return;
        };
        let is_refusal = superblock.is_refusal(outcome.operation, outcome.errno);
        if outcome.errno.is_none() && outcome.operation.writes() {
            superblock.last_write = superblock.last_write.max(Some(delta.total.last));
        }
        superblock.counters.add(now, delta, windows);
        if outcome.operation.is_fuse() && !is_refusal {
            superblock.counters.completed(delta.total.last);
        }
        if let Some(errno) = failed {
            self.suspect(dev, errno);
        }
    }

    /// Moves an operation from nobody's account to its superblock's.
    fn give(&mut self, attributed: Attributed) {
        let Attributed {
            dev,
            operation,
            errno,
        } = attributed;
        let window = self.config.storm_window;
        let now = self.now.mono;
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        if !self.totals.take_unattributed(operation, errno) {
            return;
        }
        let counters = &mut superblock.counters;
        counters.add_attributed(operation, errno);
        if let Some(errno) = errno.filter(|errno| errno.is_connection_class()) {
            counters.add_failures(now, operation, errno, 1, window);
        }
    }

    pub(super) fn on_in_flight(&mut self, reading: &InFlightReading) {
        self.health.took("in_flight");
        let watched = &self.superblocks;
        let sent = decode::in_flight(reading);
        let sent = sent.filter(|(_, sent)| watched.contains_key(&sent.dev));
        self.requests.update_sent(self.now.mono, sent);
    }

    pub(super) fn on_tasks(&mut self, scan: &Scan, is_full: bool) {
        let source = if is_full {
            "scan_tasks_full"
        } else {
            "scan_tasks_light"
        };
        self.health.took(source);
        self.health.scanned_tasks(scan, is_full);
        let (rows, bad) = decode::rows(&scan.bytes);
        self.health.refuse("rows_undecodable", bad);
        let tasks: Vec<Task> = rows
            .into_iter()
            .filter_map(|row| match row {
                Row::Task(task) => Some(*task),
                Row::Holder(_) | Row::Queued(_) | Row::File(_) => None,
            })
            .collect();
        self.see_servers(&tasks);
        if !scan.is_complete {
            return;
        }
        let now = self.now.mono;
        if is_full {
            self.asked.full_scan_at = Some(now);
        }
        let sleeping: Vec<&Task> = tasks
            .iter()
            .filter(|t| matches!(t.state, 'S' | 'D'))
            .collect();
        let own = self.devs_by_tid();
        let with_tid = |task: &&Task| Some((task.caller.tid, self.place_of(task, &own)?));
        let places: BTreeMap<u32, Place> = sleeping.iter().filter_map(with_tid).collect();
        let place_of = |task: &Task| places.get(&task.caller.tid).copied();
        let moved_on = self.waiters.update(now, &sleeping, is_full, place_of);
        for dev in moved_on {
            if let Some(superblock) = self.superblocks.get_mut(&dev) {
                superblock.moved_on = Some(now);
            }
        }
    }

    /// The superblock each thread has a request on.
    fn devs_by_tid(&self) -> BTreeMap<u32, Dev> {
        let requests = self.requests.iter();
        requests
            .filter_map(|request| Some((request.tid()?, request.dev)))
            .collect()
    }

    /// A stop takes the whole process, but a thread in an uninterruptible sleep follows late: the
    /// first thread speaks for all. A server that was stopped, or goes on, settles a state: it is
    /// decided at once.
    fn see_servers(&mut self, tasks: &[Task]) {
        let now = self.now.mono;
        let servers: BTreeMap<u32, bool> = tasks
            .iter()
            .filter(|task| task.caller.tid == task.caller.pid)
            .filter(|task| self.asked.servers.contains(&task.caller.pid))
            .map(|task| (task.caller.pid, task.is_stopped))
            .collect();
        let mut is_news = false;
        for superblock in self.superblocks.values_mut() {
            let before = superblock.connection.status();
            superblock.connection.servers_seen(now, &servers);
            is_news |= superblock.connection.status() != before;
        }
        if is_news {
            self.ask(Effect::TickNow);
        }
    }
}

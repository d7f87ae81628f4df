//! What was learnt about FUSE connections and their servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    connection::{Connection, Exit, Identity},
    decode::{self, Abort, Holder, Queued, Row},
    detect::Layout,
    errno::Errno,
    health::Health,
    input::{ConnectionCheck, Effect, Scan},
    requests::Walk,
    snapshot::ServerStatus,
    superblock::Dev,
    watched::{Service, Watched},
};

use super::Observer;

/// A failing superblock's connection is looked at no more often than this.
const SUSPECT_EVERY: Duration = Duration::from_millis(50);

/// What one scan says about one device number.
#[derive(Default)]
struct Found {
    holders: Vec<Holder>,
    queued: BTreeMap<u64, Queued>,
}

impl Found {
    /// Whether the requests found are all that wait. `waiting` counts more than the lists hold
    /// while tasks wait for a slot, or where requests travel through `io_uring`.
    fn is_whole(&self) -> bool {
        let found = u32::try_from(self.queued.len()).unwrap_or(u32::MAX);
        let waiting = self.holders.iter().map(|holder| holder.waiting).max();
        waiting.is_some_and(|waiting| found >= waiting)
            && !self.holders.iter().any(|holder| holder.is_cut)
    }
}

impl Observer {
    pub(super) fn on_holders(&mut self, scan: &Scan) {
        self.health.took("scan_holders");
        let (rows, bad) = decode::rows(&scan.bytes);
        self.health.refuse("rows_undecodable", bad);
        let mut found: BTreeMap<Dev, Found> = BTreeMap::new();
        for row in rows {
            match row {
                Row::Holder(holder) => {
                    if let Some(dev) = holder.dev {
                        found.entry(dev).or_default().holders.push(holder);
                    }
                }
                Row::Queued(queued) => {
                    let found = found.entry(queued.dev).or_default();
                    found.queued.insert(queued.request, queued);
                }
                Row::Task(_) | Row::File(_) => self.health.refuse("rows_undecodable", 1),
            }
        }
        let mut holders = found.values().flat_map(|found| &found.holders);
        self.health
            .scanned_holders(scan, !holders.any(|holder| holder.is_cut));
        let is_proof = self.is_layout_right(&found) && scan.is_complete;
        // Anything may read as a dead connection with some number.
        let is_believed = self.health.layout() != Layout::Doubtful;
        let devs: Vec<Dev> = self.superblocks.keys().copied().collect();
        for dev in devs {
            let is_its_own = |found: &Found| {
                let superblock = self.superblocks.get(&dev);
                is_believed && superblock.is_some_and(|s| s.connection.is_among(&found.holders))
            };
            match found.remove(&dev).filter(is_its_own) {
                Some(found) => self.on_found(dev, found, scan),
                None if is_proof => self.on_absence(dev),
                None => continue,
            }
            self.settle_death(dev, scan);
        }
        self.watch_servers();
    }

    /// Whether the numbers found are those of FUSE mounts, so that they were read from where they
    /// lie. Looked into only where that is in doubt.
    fn is_layout_right(&mut self, found: &BTreeMap<Dev, Found>) -> bool {
        if self.health.layout() == Layout::Described {
            return true;
        }
        let is_alive = |found: &Found| found.holders.iter().any(|holder| holder.is_connected);
        let living = found.iter().filter(|(_, found)| is_alive(found));
        let (fitting, odd): (Vec<Dev>, Vec<Dev>) = living
            .map(|(dev, _)| *dev)
            .partition(|dev| self.mounts.has_fuse(*dev));
        if !fitting.is_empty() {
            self.health.layout_fits();
        }
        self.health.layout() == Layout::Fitting && odd.is_empty()
    }

    fn on_found(&mut self, dev: Dev, found: Found, scan: &Scan) {
        let now = self.now.mono;
        let is_whole = scan.is_complete && found.is_whole();
        let rows: Vec<&Holder> = found.holders.iter().collect();
        let observe = |superblock: &mut Watched| {
            let was_dying = superblock.connection.is_dying();
            let identity = superblock.connection.observe_holders(now, &rows, is_whole);
            (identity, was_dying)
        };
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        if superblock.connection.is_past(scan.begun, &found.holders) {
            return;
        }
        let status = superblock.connection.status();
        let (identity, was_dying) = observe(superblock);
        if identity == Identity::Other {
            let mounted = superblock.mounted.clone();
            self.replace(mounted);
            if let Some(superblock) = self.superblocks.get_mut(&dev) {
                observe(superblock);
            }
        }
        let is_news = |superblock: &Watched| superblock.connection.status() != status;
        if self.superblocks.get(&dev).is_some_and(is_news) {
            self.ask(Effect::TickNow);
        }
        let walk = Walk {
            found: found.queued,
            is_whole,
        };
        let (forget, has_progressed) = self.requests.update_queue(now, dev, &walk);
        self.forget(forget);
        if has_progressed && let Some(superblock) = self.superblocks.get_mut(&dev) {
            superblock.moved_on = Some(now);
        }
        self.after_connection(dev, was_dying && identity == Identity::Same);
    }

    fn on_absence(&mut self, dev: Dev) {
        let info = self.info;
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        if superblock.service != Service::Fuse {
            return;
        }
        let was_dying = superblock.connection.is_dying();
        let connection = &mut superblock.connection;
        connection.observe_absence(self.now.mono);
        if info.is_initial_pid_namespace {
            connection.judge_absence(self.now.mono, info.is_single_look);
        }
        self.after_connection(dev, was_dying);
    }

    /// After what a scan says of a number was taken.
    fn settle_death(&mut self, dev: Dev, scan: &Scan) {
        let superblock = self.superblocks.get_mut(&dev);
        let is_settled = |superblock: &mut Watched| {
            scan.is_complete && superblock.connection.observe_no_successor(scan.begun)
        };
        if superblock.is_some_and(is_settled) {
            self.ask(Effect::TickNow);
        }
    }

    pub(super) fn on_connection(&mut self, check: &ConnectionCheck) {
        self.health.took("connection_check");
        let now = self.now.mono;
        let Some(superblock) = self.superblocks.get_mut(&check.dev) else {
            return;
        };
        let was_dying = superblock.connection.is_dying();
        match superblock.connection.observe_check(now, check.state) {
            Identity::Same => {
                let connection = &superblock.connection;
                let is_unserved = connection.status() == ServerStatus::Gone;
                if connection.is_connected == Some(true) && is_unserved {
                    // Every known server left and yet it lives: a child, or another, took over.
                    self.ask(Effect::ScanHolders);
                }
                self.after_connection(check.dev, was_dying);
            }
            Identity::Lost => {
                self.ask(Effect::ReadMountinfo(self.mounts.namespaces_of(check.dev)));
                self.ask(Effect::ScanHolders);
            }
            Identity::Other => {
                let mounted = superblock.mounted.clone();
                self.replace(mounted);
            }
        }
    }

    pub(super) fn on_waiting(&mut self, all: &[(Dev, u32)]) {
        self.health.took("fusectl");
        for &(dev, waiting) in all {
            if let Some(superblock) = self.superblocks.get_mut(&dev) {
                let connection = &mut superblock.connection;
                connection.observe_waiting(self.now.mono, waiting);
                self.after_waiting(dev);
            }
        }
    }

    fn after_connection(&mut self, dev: Dev, was_dying: bool) {
        self.after_waiting(dev);
        let is_dying = |superblock: &Watched| superblock.connection.is_dying();
        if !was_dying && self.superblocks.get(&dev).is_some_and(is_dying) {
            // An unmount disconnects as well: only a table read from now on tells which it was.
            self.ask(Effect::ReadMountinfo(self.mounts.namespaces_of(dev)));
            self.list_files(dev);
        }
    }

    fn after_waiting(&mut self, dev: Dev) {
        let connection = self.superblocks.get(&dev).map(|s| &s.connection);
        if let Some(since) = connection.and_then(|connection| connection.idle_since) {
            let forget = self.requests.nothing_waits(self.now.mono, dev, since);
            self.forget(forget);
        }
    }

    pub(super) fn on_server_exit(&mut self, pid: u32, exit: Exit) {
        let mut follow = Vec::new();
        let mut is_unknown = false;
        for superblock in self.superblocks.values_mut() {
            let connection = &mut superblock.connection;
            if connection.server_exited(pid, exit) {
                match connection.address {
                    Some(address) => follow.push((address, superblock.id.dev)),
                    None => is_unknown = true,
                }
            }
        }
        if !follow.is_empty() {
            self.ask(Effect::FollowExit(follow));
        }
        if is_unknown || !self.health.is_attached("connection_check") {
            self.ask(Effect::ScanHolders);
        }
    }

    /// The kernel is ending a connection: the record is made where that begins, so it is looked at
    /// until it is over. One older than the superblock is about a past one of the same number.
    pub(super) fn on_abort(&mut self, dev: Option<Dev>, abort: Abort) {
        let superblock = dev.and_then(|dev| self.superblocks.get_mut(&dev));
        let Some(superblock) = superblock.filter(|superblock| {
            superblock.service == Service::Fuse && superblock.first_seen <= abort.at
        }) else {
            return;
        };
        let connection = &mut superblock.connection;
        let was_dying = connection.is_dying();
        if is_settled_by_abort(&self.health, connection) {
            connection.observe_unread_abort(self.now.mono, abort);
        } else {
            connection.observe_abort(abort);
        }
        let is_news = connection.is_dying() && !was_dying;
        let dev = superblock.id.dev;
        if is_news {
            self.ask(Effect::ReadMountinfo(self.mounts.namespaces_of(dev)));
            self.list_files(dev);
        }
        self.follow(dev);
    }

    /// A descriptor of a connection was closed: it was the last one, or it was not.
    pub(super) fn on_release(&mut self, dev: Option<Dev>) {
        if let Some(dev) = dev {
            self.follow(dev);
        }
    }

    /// A connection ends in a moment, if at all: now is a good time to look at it, and a little later.
    fn follow(&mut self, dev: Dev) {
        let Some(superblock) = self.superblocks.get(&dev) else {
            return;
        };
        let connection = &superblock.connection;
        if superblock.service != Service::Fuse || connection.is_connected == Some(false) {
            return;
        }
        match connection.address {
            Some(address) if self.health.is_attached("connection_check") => {
                self.effects
                    .push(Effect::CheckConnections(vec![(address, dev)]));
                self.ask(Effect::FollowExit(vec![(address, dev)]));
            }
            Some(_) | None => self.ask(Effect::ScanHolders),
        }
    }

    /// Callers met an errno that a dead connection gives: look whether it is one.
    pub(super) fn suspect(&mut self, dev: Dev, errno: Errno) {
        if !matches!(errno, Errno::ENOTCONN | Errno::ECONNABORTED) {
            return;
        }
        let now = self.now.mono;
        let Some(superblock) = self.superblocks.get(&dev) else {
            return;
        };
        let asked_at = self.asked.suspects.get(&dev);
        let is_recent = asked_at.is_some_and(|at| now.since(*at) < SUSPECT_EVERY);
        if superblock.service != Service::Fuse || superblock.connection.is_dying() || is_recent {
            return;
        }
        self.asked.suspects.insert(dev, now);
        match superblock.connection.address {
            Some(address) => self.ask(Effect::CheckConnections(vec![(address, dev)])),
            None => self.ask(Effect::ScanHolders),
        }
    }

    /// Tells whose exits matter, when that changed.
    pub(super) fn watch_servers(&mut self) {
        let connections = self.superblocks.values().map(|s| &s.connection);
        let servers: BTreeSet<u32> = connections.flat_map(Connection::server_pids).collect();
        if servers != self.asked.servers {
            self.find_units_of(&servers);
            let list = servers.iter().copied().collect();
            self.effects.push(Effect::WatchServers(list));
            self.asked.servers = servers;
        }
    }
}

/// Whether the record of an abort has to do, because the connection cannot be asked. Only a living one
/// is recorded, and as long as it lives its number is that of its superblock and of no other
/// (`fuse_kill_sb_anon`, `fs/fuse/inode.c`, v5.10 to v7.3), if only the layout is right.
fn is_settled_by_abort(health: &Health, connection: &Connection) -> bool {
    let can_ask = connection.address.is_some() && health.is_attached("connection_check");
    let has_readers = || ["connection_check", "holders"].map(|probe| health.is_attached(probe));
    match health.layout() {
        Layout::Described => !can_ask,
        Layout::Fitting => has_readers() == [false, false],
        Layout::Doubtful => false,
    }
}

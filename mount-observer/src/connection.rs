//! What is known of one FUSE connection: whether it is alive, and who serves it.
//!
//! Kernel facts used (`fs/fuse/{dev,inode}.c`, v6.18): `connected` falls once and never rises again;
//! the last close of the connection's descriptors makes it fall; an unmount does too, so only a
//! mount table read afterwards tells a death from an unmount.

mod abort;
mod death;
mod exit;

use std::collections::BTreeMap;

use crate::{
    decode::{Abort, Holder},
    input::ConnectionState,
    snapshot::{Server, ServerStatus},
    time::Mono,
};

pub use death::{Cause, Confirmation, Death};
pub use exit::Exit;

/// Servers remembered per connection, those that left included.
const SERVERS_MAX: usize = 16;

/// One FUSE connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Address of the kernel's structure, where known.
    pub address: Option<u64>,
    /// Whether it is alive, as last read.
    pub is_connected: Option<bool>,
    /// Requests that wait for an answer or a slot, as last read.
    pub waiting: Option<u32>,
    /// Since when `waiting` has been above 0.
    pub waiting_since: Option<Mono>,
    /// Since when it has been 0.
    pub idle_since: Option<Mono>,
    /// When the lists were last walked from end to end.
    pub walked_at: Option<Mono>,
    servers: BTreeMap<u32, ServerState>,
    /// Since when complete scans have found nobody holding it.
    absent_since: Option<Mono>,
    /// How often they have.
    absent_scans: u32,
    death: Option<Death>,
    abort: Option<Abort>,
}

#[derive(Clone, Debug)]
struct ServerState {
    comm: String,
    stopped_since: Option<Mono>,
    exit: Option<Exit>,
    /// Whether the last complete scan saw it hold the connection.
    is_holding: bool,
}

/// Whether what was just read is about the connection known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It is.
    Same,
    /// Another connection took over the device number.
    Other,
    /// The address leads nowhere: unmounted, or never ours.
    Lost,
}

impl Connection {
    /// Whether any of the rows about this device number can be this connection.
    ///
    /// An aborted connection keeps its number for as long as its server keeps the descriptor, also
    /// when the mount is gone and the number is given to another: dead and not the one we know, it
    /// is somebody's past.
    pub fn is_among(&self, rows: &[Holder]) -> bool {
        let is_ours = |row: &Holder| Some(row.connection) == self.address;
        self.address.is_none() || rows.iter().any(|row| row.is_connected || is_ours(row))
    }

    /// Whether the rows of a scan that began then are about a time before this connection's end:
    /// it was still connected, and its servers ran.
    pub fn is_past(&self, begun: Mono, rows: &[Holder]) -> bool {
        let is_ours = |row: &Holder| self.address.is_none_or(|address| row.connection == address);
        self.death.is_some_and(|death| begun < death.since) && rows.iter().all(is_ours)
    }

    /// Takes the rows of one scan that are about this device number, [`Self::is_among`] them.
    ///
    /// The number may show twice: the live one is the mounted one.
    pub fn observe_holders(
        &mut self,
        now: Mono,
        rows: &[&Holder],
        is_walk_whole: bool,
    ) -> Identity {
        let live = rows.iter().find(|row| row.is_connected);
        let known = rows.iter().find(|row| Some(row.connection) == self.address);
        let Some(chosen) = live.or(known).or(rows.first()) else {
            return Identity::Same;
        };
        let address = chosen.connection;
        if self.is_other(now, address, chosen.is_connected) {
            return Identity::Other;
        }
        self.address = Some(address);
        self.absent_since = None;
        self.absent_scans = 0;
        for server in self.servers.values_mut() {
            server.is_holding = false;
        }
        let ours = rows.iter().filter(|row| row.connection == address);
        for row in ours {
            self.add_server(now, row);
        }
        if is_walk_whole {
            self.walked_at = Some(now);
        }
        self.observe_state(now, chosen.is_connected, chosen.waiting);
        Identity::Same
    }

    fn is_other(&self, now: Mono, address: u64, is_connected: bool) -> bool {
        let is_moved = self.address.is_some_and(|known| known != address);
        is_moved || self.has_risen(now, is_connected)
    }

    /// Whether one that is read as alive cannot be the one that ended.
    fn has_risen(&self, now: Mono, is_connected: bool) -> bool {
        is_connected && (self.is_connected == Some(false) || self.outlives_abort(now))
    }

    fn add_server(&mut self, now: Mono, row: &Holder) {
        if self.servers.len() >= SERVERS_MAX && !self.servers.contains_key(&row.pid) {
            let gone = self.servers.iter().find(|(_, server)| !server.is_holding);
            let Some(pid) = gone.map(|(pid, _)| *pid) else {
                return;
            };
            self.servers.remove(&pid);
        }
        let known = self.servers.get(&row.pid);
        let stopped_since = known.and_then(|server| server.stopped_since);
        let server = ServerState {
            comm: row.comm.clone(),
            stopped_since: row.is_stopped.then(|| stopped_since.unwrap_or(now)),
            // A scan may have begun before its exit, and until its files are closed a process that
            // exits is still seen to hold them.
            exit: known.and_then(|server| server.exit),
            is_holding: true,
        };
        self.servers.insert(row.pid, server);
    }

    /// A complete scan found nobody who holds the connection.
    pub fn observe_absence(&mut self, now: Mono) {
        for server in self.servers.values_mut() {
            server.is_holding = false;
        }
        self.absent_since.get_or_insert(now);
        self.absent_scans = self.absent_scans.saturating_add(1);
    }

    /// Takes a direct reading.
    pub fn observe_check(&mut self, now: Mono, state: Option<ConnectionState>) -> Identity {
        match state {
            None => {
                self.address = None;
                Identity::Lost
            }
            Some(state) if self.has_risen(now, state.is_connected) => Identity::Other,
            Some(state) => {
                self.observe_state(now, state.is_connected, state.waiting);
                Identity::Same
            }
        }
    }

    /// Takes fusectl's count.
    pub fn observe_waiting(&mut self, now: Mono, waiting: u32) {
        self.waiting = Some(waiting);
        if waiting == 0 {
            self.waiting_since = None;
            self.idle_since.get_or_insert(now);
        } else {
            self.waiting_since.get_or_insert(now);
            self.idle_since = None;
        }
    }

    fn observe_state(&mut self, now: Mono, is_connected: bool, waiting: u32) {
        self.observe_waiting(now, waiting);
        let how = self.death.map(|death| death.how);
        if is_connected && how == Some(Cause::Aborted) {
            // Whoever aborts it has not come that far.
            return;
        }
        self.is_connected = Some(is_connected);
        if !is_connected && how != Some(Cause::Disconnected) {
            self.die(now, Cause::Disconnected);
        } else if is_connected && how == Some(Cause::NobodyHolds) {
            self.death = None;
        }
        if is_connected {
            self.abort.take_if(|abort| abort.is_refuted_at(now));
        }
    }

    /// Whether a complete scan was made and nobody was found.
    pub fn is_absent(&self) -> bool {
        self.absent_since.is_some()
    }

    /// A server ended; says whether it was one of ours.
    pub fn server_exited(&mut self, pid: u32, exit: Exit) -> bool {
        let Some(server) = self.servers.get_mut(&pid) else {
            return false;
        };
        server.exit = Some(exit);
        server.is_holding = false;
        server.stopped_since = None;
        true
    }

    /// Takes which of the processes in sight are stopped.
    pub fn servers_seen(&mut self, now: Mono, is_stopped: &BTreeMap<u32, bool>) {
        for (pid, server) in &mut self.servers {
            if let Some(&is_stopped) = is_stopped.get(pid) {
                server.stopped_since = is_stopped.then(|| server.stopped_since.unwrap_or(now));
            }
        }
    }

    /// Processes that hold it, as far as known.
    pub fn server_pids(&self) -> impl Iterator<Item = u32> {
        let holding = self.servers.iter().filter(|(_, server)| server.is_holding);
        holding.map(|(pid, _)| *pid)
    }

    /// Since when every server has been stopped.
    pub fn stopped_since(&self) -> Option<Mono> {
        let mut holding = self.servers.values().filter(|server| server.is_holding);
        let first = holding.next()?.stopped_since?;
        holding.try_fold(first, |latest, server| {
            server.stopped_since.map(|since| since.max(latest))
        })
    }

    /// Whether it can be answered.
    pub fn status(&self) -> ServerStatus {
        if self.servers.values().any(|server| server.is_holding) {
            if self.stopped_since().is_some() {
                ServerStatus::Stopped
            } else {
                ServerStatus::Running
            }
        } else if !self.servers.is_empty() || self.is_dying() && !self.is_server_spared() {
            ServerStatus::Gone
        } else {
            ServerStatus::Unknown
        }
    }

    /// The servers, for the snapshot.
    pub fn servers(&self) -> Vec<Server> {
        let view = |(&pid, server): (&u32, &ServerState)| Server {
            pid,
            comm: server.comm.clone(),
            unit: None,
            status: match (server.is_holding, server.stopped_since) {
                (false, _) => ServerStatus::Gone,
                (true, Some(_)) => ServerStatus::Stopped,
                (true, None) => ServerStatus::Running,
            },
            exit: server.exit.map(Exit::text),
        };
        self.servers.iter().map(view).collect()
    }

    /// `server sshfs[12] is stopped`, for a sentence.
    pub fn servers_text(&self) -> String {
        let status = self.status();
        let is_told = |server: &&Server| server.status == status || status == ServerStatus::Gone;
        let all = self.servers();
        let names: Vec<_> = all.iter().filter(is_told).map(server_text).collect();
        match (names.is_empty(), status) {
            (true, ServerStatus::Gone) => "no process serves it any more".to_owned(),
            (true, _) | (false, ServerStatus::Unknown) => "its server is not in sight".to_owned(),
            (false, ServerStatus::Running) => format!("server {} runs", names.join(", ")),
            (false, ServerStatus::Stopped) => format!("server {} is stopped", names.join(", ")),
            (false, ServerStatus::Gone) => format!("server {} is gone", names.join(", ")),
        }
    }
}

fn server_text(server: &Server) -> String {
    match &server.exit {
        Some(exit) => format!("{}[{}] ({exit})", server.comm, server.pid),
        None => format!("{}[{}]", server.comm, server.pid),
    }
}

#[cfg(test)]
mod tests;

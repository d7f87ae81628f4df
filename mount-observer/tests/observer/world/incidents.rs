//! The journal, and an observer that begins anew with what it holds.

use std::fmt::Write as _;

use mount_observer::{
    incident::Incident,
    input::{BootId, Input, SelfInfo, WaitFunction},
    time::{Mono, Wall},
};

use super::{FUNCTIONS, START, World, session};

impl World {
    /// Takes an incident as it is to be kept: what is whole now must be readable as it was written.
    pub(super) fn keep(&mut self, incident: &Incident) {
        let text = serde_json::to_string(incident).unwrap();
        let read: Incident = serde_json::from_str(&text).unwrap();
        assert_eq!(&read, incident);
        self.journal.insert(incident.id.to_string(), read);
        self.journal_writes += 1;
    }

    /// Where tasks wait.
    pub(super) fn functions() -> Vec<WaitFunction> {
        let functions = FUNCTIONS.iter().zip(1_u64..).map(|(name, n)| WaitFunction {
            start: n * 0x1000,
            end: n * 0x1000 + 0x100,
            name: (*name).to_owned(),
        });
        functions.collect()
    }

    /// The observer is killed, and another begins: it knows what the journal holds, and its programs
    /// have seen nothing yet.
    pub(crate) fn restart(&mut self, boot: u128) {
        let info = SelfInfo {
            boot: BootId(boot),
            is_initial_pid_namespace: true,
            is_single_look: false,
        };
        self.session = session(&self.config, info, self.trace.as_ref());
        self.totals.clear();
        self.watched.clear();
        self.following.clear();
        self.scanned_at = None;
        for request in self.requests.values_mut() {
            request.is_tracked = false;
        }
        let open = self.journal.values();
        let open = open.filter(|incident| incident.ended.is_none()).cloned();
        let open = open.collect();
        self.feed(Input::Remembered(open));
        self.feed(Input::WaitFunctions(Self::functions()));
        self.is_reading_slowly = false;
        self.late.clear();
        let namespaces: Vec<u32> = self.tables.keys().copied().collect();
        for mnt_ns in namespaces {
            self.read_table(mnt_ns);
        }
        self.note_health();
        self.scan_all();
        self.tick();
    }

    /// Writes what the journal holds to the log.
    pub(crate) fn show_incidents(&mut self) {
        let at = self.elapsed() / 1_000_000;
        let mut text = format!("@{}.{:03}s journal\n", at / 1000, at % 1000);
        for incident in self.journal.values() {
            show(&mut text, incident);
        }
        self.log.push_str(&text);
    }
}

/// ms since the scenario began.
fn since_start(wall: Wall) -> i128 {
    i128::from(wall.0) / 1_000_000 - i128::from(START) / 1_000_000
}

fn show(log: &mut String, incident: &Incident) {
    let at = since_start;
    let delay = incident.detection_delay_ns / 1_000_000;
    write!(
        log,
        "    {} {} {:?} {} since {:+}ms, told after {delay}ms",
        incident.id,
        incident.kind.name(),
        incident.severity,
        incident.subject.mount_point,
        at(incident.started_unix_ns),
    )
    .unwrap();
    if incident.returns > 0 {
        write!(log, ", came back {} times", incident.returns).unwrap();
    }
    match &incident.ended {
        None => log.push_str(", goes on\n"),
        Some(end) => {
            let lasted = end.duration_ns;
            let lasted = lasted.map_or(String::new(), |ns| format!(" after {}ms", ns / 1_000_000));
            let (why, at) = (end.why.name(), at(end.at_unix_ns));
            writeln!(log, ", {why} at {at:+}ms{lasted}").unwrap();
        }
    }
    for phase in &incident.phases {
        let until = phase.ended_unix_ns.map(at);
        let (kind, from) = (phase.kind.name(), at(phase.started_unix_ns));
        writeln!(
            log,
            "        {kind} {from:+}ms to {until:?}: {}",
            phase.reason
        )
        .unwrap();
    }
    for failed in &incident.failures {
        let (errno, operation) = (&failed.errno, &failed.operation);
        let (count, peak) = (failed.count, failed.peak);
        writeln!(
            log,
            "        {errno} on {operation} x {count}, at most {peak}"
        )
        .unwrap();
    }
    show_victims(log, incident);
    for server in &incident.servers {
        let (comm, pid, status) = (&server.comm, server.pid, &server.status);
        let exit = server.exit.as_deref().unwrap_or("-");
        writeln!(log, "        server {comm}[{pid}] {status} {exit}").unwrap();
    }
    if let Some(abort) = &incident.abort {
        writeln!(log, "        {abort}").unwrap();
    }
    if let Some(success) = incident.last_success_unix_ns {
        writeln!(log, "        last success {:+}ms", since_start(success)).unwrap();
    }
}

fn show_victims(log: &mut String, incident: &Incident) {
    let at = since_start;
    for victim in &incident.victims {
        let (comm, pid) = (&victim.comm, victim.pid);
        let what = victim.operation.as_deref().unwrap_or("-");
        let wait = victim.longest_wait_ns;
        let wait = wait.map_or(String::new(), |ns| format!(" waited {}ms,", ns / 1_000_000));
        let errno = victim.errno.as_deref().unwrap_or("-");
        let (first, last) = (at(victim.first_seen_unix_ns), at(victim.last_seen_unix_ns));
        writeln!(
            log,
            "        {comm}[{pid}] {what} {errno},{wait} seen {first:+}ms to {last:+}ms"
        )
        .unwrap();
    }
    if incident.victims_total != u64::try_from(incident.victims.len()).unwrap() {
        writeln!(log, "        victims in all: {}", incident.victims_total).unwrap();
    }
}

/// The monotonic clock runs on through a restart of the observer, not through one of the machine.
impl World {
    /// The machine starts again: nothing of it is there any more.
    pub(crate) fn reboot(&mut self) {
        self.tables.clear();
        self.tables.insert(1, Vec::new());
        self.servers.clear();
        self.connections.clear();
        self.requests.clear();
        self.sleepers.clear();
        self.restart(8);
        assert!(Mono(self.now) > Mono(0));
    }
}

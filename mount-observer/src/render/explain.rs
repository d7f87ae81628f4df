//! A path explained for people.

use serde::Serialize;

use super::{duration::Age, escape::escaped, status::server};
use crate::{
    incident::Summary,
    snapshot::{BlockedTask, Request, Superblock},
    superblock::Dev,
    text::{append, count},
    time::Wall,
};

/// Entries of each list; the rest is counted, and is in the JSON.
const SHOWN_MAX: usize = 10;

/// Everything there is to say about where a path lies.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The path, absolute; what is no UTF-8, and control characters, as `\xHH`.
    pub path: String,
    /// The mount it lies on.
    pub mount_point: String,
    /// The same path below the root of the filesystem, as its server knows it.
    pub in_filesystem: String,
    /// Filesystem type.
    pub fstype: String,
    /// mountinfo's source field.
    pub source: String,
    /// Mount options.
    pub options: String,
    /// The superblock.
    #[serde(rename = "device_number")]
    pub dev: Dev,
    /// Whether a daemon with this configuration observes it.
    pub is_in_scope: bool,
    /// What is known of it, as in the snapshot; `None` where it went during the look.
    pub superblock: Option<Superblock>,
    /// Who keeps it busy.
    pub openers: Openers,
    /// The latest incident at one of its mount points.
    pub last_incident: Option<Summary>,
    /// What else one should know.
    pub remarks: Vec<String>,
}

/// Who keeps a filesystem busy.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Openers {
    /// The processes, those with the most files first.
    pub processes: Vec<Opener>,
    /// Descriptors looked at.
    pub descriptors: u64,
    /// Processes that may not be looked at.
    pub unreadable: Vec<u32>,
    /// Whether not all were looked at: there were too many descriptors, or `/proc` cannot be listed.
    pub is_cut: bool,
}

/// A process that keeps a filesystem busy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opener {
    /// Process.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// Files it has open there.
    pub files: u64,
    /// Whether its working directory lies there, as seen from the observer's mount namespace.
    pub works_there: bool,
    /// Whether its root does, likewise.
    pub has_root_there: bool,
}

impl Explanation {
    /// For people; `now` tells how long ago something was.
    pub fn text(&self, now: Wall) -> String {
        let mut out = format!("{}\n", self.path);
        self.place(&mut out);
        match &self.superblock {
            Some(superblock) => state(&mut out, superblock),
            None => section(
                &mut out,
                "state",
                "not known: it went while it was looked at",
            ),
        }
        self.held_by(&mut out);
        if let Some(incident) = &self.last_incident {
            section(&mut out, "incident", &last(incident, now));
        }
        let advice = self.superblock.as_ref().map(|known| known.advice.as_str());
        if let Some(advice) = advice.filter(|advice| !advice.is_empty()) {
            section(&mut out, "to do", &escaped(advice));
        }
        for remark in &self.remarks {
            section(&mut out, "note", &escaped(remark));
        }
        out
    }

    fn place(&self, out: &mut String) {
        let lies = format!(
            "{}: {} from {}, superblock {}",
            escaped(&self.mount_point),
            escaped(&self.fstype),
            escaped(&self.source),
            self.dev
        );
        section(out, "lies on", &lies);
        if self.in_filesystem != self.path {
            section(out, "there as", &self.in_filesystem);
        }
        let mounts = self.superblock.as_ref().map(|known| &known.mounts);
        let others = mounts.into_iter().flat_map(|mounts| mounts.iter());
        let others: Vec<_> = others
            .filter(|mount| {
                !(mount.is_own_namespace && mount.mount_point_escaped == self.mount_point)
            })
            .map(|mount| {
                let place = escaped(&mount.mount_point_escaped);
                if mount.is_own_namespace {
                    place
                } else {
                    format!("{place} in mnt:[{}]", mount.mount_namespace)
                }
            })
            .collect();
        list(out, "also at", &others, others.len());
        if !self.is_in_scope {
            section(
                out,
                "scope",
                "not observed by a daemon with this configuration ([scope])",
            );
        }
    }

    fn held_by(&self, out: &mut String) {
        let openers = &self.openers;
        let held: Vec<_> = openers.processes.iter().map(opener).collect();
        if held.is_empty() {
            section(out, "held by", "no process that can be seen");
        }
        list(out, "held by", &held, held.len());
        if openers.is_cut {
            let seen = count(openers.descriptors, "descriptor");
            section(out, "", &format!("not all were looked at, only {seen}"));
        }
        if !openers.unreadable.is_empty() {
            let pids: Vec<_> = openers.unreadable.iter().map(u32::to_string).collect();
            section(
                out,
                "",
                &format!("may not be looked at: {}", pids.join(", ")),
            );
        }
    }
}

/// What is known of the superblock.
fn state(out: &mut String, superblock: &Superblock) {
    let reason = match superblock.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", escaped(reason)),
    };
    section(
        out,
        "state",
        &format!("{}{reason}", superblock.state.name()),
    );
    for fact in &superblock.evidence {
        section(out, "", &escaped(fact));
    }
    if let Some(fuse) = &superblock.fuse {
        let who = server(superblock).unwrap_or_else(|| "not seen".to_owned());
        let units = fuse
            .servers
            .iter()
            .filter_map(|server| server.unit.as_deref());
        let units: Vec<_> = units.map(escaped).collect();
        let of = if units.is_empty() {
            String::new()
        } else {
            format!(" ({})", units.join(", "))
        };
        section(out, "server", &format!("{who}{of}"));
        let is_connected = match fuse.is_connected {
            Some(true) => "connected",
            Some(false) => "ended",
            None => "not known whether it lives",
        };
        let waiting = fuse.waiting.map_or_else(String::new, |waiting| {
            format!(", {} waiting", count(waiting.into(), "request"))
        });
        // fusectl names a connection by its device number in decimal (`fuse_ctl_add_conn`).
        let place = format!("/sys/fs/fuse/connections/{}", fuse.connection.0);
        section(
            out,
            "connection",
            &format!("{place}: {is_connected}{waiting}"),
        );
    }
    let requests: Vec<_> = superblock.requests.iter().map(request).collect();
    let all = usize::try_from(superblock.in_flight).unwrap_or(usize::MAX);
    list(out, "in flight", &requests, all);
    let blocked: Vec<_> = superblock.blocked_tasks.iter().map(task).collect();
    let all = usize::try_from(superblock.blocked).unwrap_or(usize::MAX);
    list(out, "waits", &blocked, all);
}

fn request(request: &Request) -> String {
    let who = match (&request.comm, request.pid) {
        (Some(comm), Some(pid)) => format!(" by {}[{pid}]", escaped(comm)),
        (None, Some(pid)) => format!(" by [{pid}]"),
        (_, None) => String::new(),
    };
    let age = request.age_ns.map_or_else(
        || "since before this look".to_owned(),
        |age| format!("for {}", Age(age)),
    );
    format!("{}{who} {age}", request.operation)
}

fn task(task: &BlockedTask) -> String {
    let what = task
        .operation
        .map_or_else(String::new, |operation| format!(" for {operation}"));
    let place = match &task.waits_in {
        Some(function) => format!(" in {}", escaped(function)),
        None => String::new(),
    };
    let age = task
        .age_ns
        .map_or_else(String::new, |age| format!(", seen so for {}", Age(age)));
    format!(
        "{}[{}] ({}){what}{place}{age}",
        escaped(&task.comm),
        task.pid,
        task.task_state
    )
}

fn opener(opener: &Opener) -> String {
    let mut what = Vec::new();
    if opener.files > 0 {
        what.push(count(opener.files, "file"));
    }
    if opener.works_there {
        what.push("working directory".to_owned());
    }
    if opener.has_root_there {
        what.push("root directory".to_owned());
    }
    format!(
        "{}[{}]: {}",
        escaped(&opener.comm),
        opener.pid,
        what.join(", ")
    )
}

fn last(incident: &Summary, now: Wall) -> String {
    let ago = Age(now.0.saturating_sub(incident.started_unix_ns.0));
    let end = match &incident.ended_why {
        Some(why) => why.replace('_', " "),
        None => "goes on".to_owned(),
    };
    let id = &incident.id;
    format!(
        "{} {ago} ago ({end}): {}; `mount-observer incidents show {id}`",
        incident.kind, incident.reason
    )
}

/// A line under a heading; without one it belongs to the one above.
fn section(out: &mut String, heading: &str, text: &str) {
    append(out, format_args!("  {heading:<11} {text}\n"));
}

fn list(out: &mut String, heading: &str, lines: &[String], all: usize) {
    let shown = lines.len().min(SHOWN_MAX);
    for (index, line) in lines.iter().take(shown).enumerate() {
        section(out, if index == 0 { heading } else { "" }, line);
    }
    if all > shown && shown > 0 {
        section(out, "", &format!("and {} more", all - shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::State, render::fixture};

    fn explanation(state: State) -> Explanation {
        let snapshot = fixture::snapshot();
        let mut superblocks = snapshot.superblocks.into_iter();
        let mut superblock = superblocks.find(|known| known.state == state).unwrap();
        superblock.advice = "unmount it\n(`umount /mnt/a`)".to_owned();
        Explanation {
            path: "/mnt/a/out.warc".to_owned(),
            mount_point: superblock.mountpoint.clone(),
            in_filesystem: "/out.warc".to_owned(),
            fstype: superblock.fstype.clone(),
            source: superblock.device.clone(),
            options: "rw".to_owned(),
            dev: superblock.id.dev,
            is_in_scope: true,
            superblock: Some(superblock),
            openers: Openers {
                processes: vec![Opener {
                    pid: 7,
                    comm: "ba\x1bsh".to_owned(),
                    files: 2,
                    works_there: true,
                    has_root_there: false,
                }],
                descriptors: 40,
                unreadable: vec![1],
                is_cut: false,
            },
            last_incident: Some(Summary::of(&fixture::full_incident())),
            remarks: vec!["links are not followed".to_owned()],
        }
    }

    #[test]
    fn a_dead_and_a_hung_mount_are_explained() {
        let now = Wall(1_767_323_045_000_000_000);
        insta::assert_snapshot!(format!(
            "{}\n{}",
            explanation(State::Dead).text(now),
            explanation(State::Hung).text(now)
        ));
    }

    #[test]
    fn what_is_not_observed_and_what_went_is_said() {
        let mut gone = explanation(State::Dead);
        gone.is_in_scope = false;
        gone.superblock = None;
        gone.openers = Openers::default();
        gone.last_incident = None;
        let text = gone.text(Wall(0));
        assert!(text.contains("not observed by a daemon"), "{text}");
        assert!(text.contains("it went while it was looked at"), "{text}");
        assert!(text.contains("no process that can be seen"), "{text}");
    }
}

//! To which systemd unit or container a process belongs, from its control group.
//!
//! Told of a process as it was when it was asked: of one that has gone since, what was known stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{text, time::Mono};

/// Processes remembered: as many as servers are watched.
const KNOWN_MAX: usize = 16_384;

/// Processes asked about in one go: a file each, microseconds.
const ASKED_MAX: usize = 64;

/// After this long a number may be another process's.
const VALID_FOR: Duration = Duration::from_mins(1);

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Units {
    known: BTreeMap<u32, Known>,
    wanted: BTreeSet<u32>,
    asked: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
struct Known {
    unit: Option<String>,
    at: Mono,
}

impl Units {
    /// A process's unit, where known.
    pub fn of(&self, pid: u32) -> Option<String> {
        self.known.get(&pid)?.unit.clone()
    }

    /// Asks about a process, unless that was done lately.
    pub fn want(&mut self, now: Mono, pid: u32) {
        let is_valid = |known: &Known| now.since(known.at) < VALID_FOR;
        let is_known = self.known.get(&pid).is_some_and(is_valid);
        if pid != 0 && !is_known && !self.asked.contains(&pid) && self.wanted.len() < KNOWN_MAX {
            self.wanted.insert(pid);
        }
    }

    /// Whom to ask about now; nobody while an answer is awaited.
    pub fn take_wanted(&mut self) -> Vec<u32> {
        if !self.asked.is_empty() {
            return Vec::new();
        }
        while self.asked.len() < ASKED_MAX
            && let Some(pid) = self.wanted.pop_first()
        {
            self.asked.insert(pid);
        }
        self.asked.iter().copied().collect()
    }

    /// Takes the answers: the content of `/proc/PID/cgroup`, `None` for a process that has gone.
    pub fn learn(&mut self, now: Mono, answers: &[(u32, Option<Vec<u8>>)]) {
        self.asked.clear();
        for (pid, content) in answers {
            let unit = match content {
                Some(content) => unit_of(content),
                // Who it was is known from before, if at all.
                None => self.of(*pid),
            };
            if self.known.len() >= KNOWN_MAX && !self.known.contains_key(pid) {
                let oldest = self.known.iter().min_by_key(|(_, known)| known.at);
                if let Some(oldest) = oldest.map(|(pid, _)| *pid) {
                    self.known.remove(&oldest);
                }
            }
            self.known.insert(*pid, Known { unit, at: now });
        }
    }
}

/// The unit or container in a process's list of control groups (cgroups(7)): the line of version 2, or
/// systemd's own hierarchy of version 1. Escaped; `None` for the root.
fn unit_of(content: &[u8]) -> Option<String> {
    let lines = || content.split(|&byte| byte == b'\n');
    let path_after = |prefix: &[u8]| {
        let path = lines().find_map(|line| {
            let (_, rest) = split_at(line, b':')?;
            rest.strip_prefix(prefix)
        });
        path.filter(|path| path.len() > 1)
    };
    let path = path_after(b":").or_else(|| path_after(b"name=systemd:"))?;
    let names = || path.split(|&byte| byte == b'/').rev();
    let container = names().find_map(container_of);
    let unit = || {
        let unit = names().find(|name| is_unit(name))?;
        Some(text::escaped(unit))
    };
    container
        .or_else(unit)
        .or_else(|| Some(text::escaped(path)))
}

fn split_at(line: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&byte| byte == separator)?;
    let (head, tail) = line.split_at_checked(at)?;
    Some((head, tail.get(1..)?))
}

/// A service, or a scope: slices only group them.
fn is_unit(name: &[u8]) -> bool {
    let ends = [&b".service"[..], b".scope", b".mount", b".socket", b".swap"];
    ends.iter().any(|end| name.ends_with(end))
}

/// `docker 4f1d22a0c6e9`: a container's group is named after its runtime and its number of 64 digits
/// (`docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`, `crio-ID.scope`), or after the
/// number alone.
fn container_of(name: &[u8]) -> Option<String> {
    /// As container tools show a number.
    const SHOWN: usize = 12;
    let (runtime, number) = split_container(name)?;
    let runtime = runtime.strip_suffix(b"-").unwrap_or(runtime);
    let runtime = if runtime.is_empty() {
        "container".to_owned()
    } else {
        text::escaped(runtime)
    };
    let number = number.get(..SHOWN)?;
    Some(format!("{runtime} {}", text::lossy(number)))
}

/// The number of the container whose control group has this name, if it is one's.
pub(crate) fn container_number(name: &str) -> Option<&str> {
    let (_, number) = split_container(name.as_bytes())?;
    std::str::from_utf8(number).ok()
}

/// A runtime's name and the 64 digits after it.
fn split_container(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = name.strip_suffix(b".scope").unwrap_or(name);
    let (runtime, number) = name.split_at_checked(name.len().checked_sub(64)?)?;
    let is_number = number.iter().all(u8::is_ascii_hexdigit);
    is_number.then_some((runtime, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1d22a0c6e94f1d22a0c6e94f1d22a0c6e94f1d22a0c6e94f1d22a0c6e91234";

    fn unit(text: &str) -> Option<String> {
        unit_of(text.as_bytes())
    }

    #[test]
    fn a_unit_is_the_innermost_service_or_scope() {
        let words = |text: &str| unit(text).unwrap();
        assert_eq!(words("0::/system.slice/jobs.service\n"), "jobs.service");
        let session = "0::/user.slice/user-1000.slice/session-3.scope\n";
        assert_eq!(words(session), "session-3.scope");
        let version_1 = "12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/\n";
        assert_eq!(words(version_1), "cron.service");
        assert_eq!(words("0::/system.slice/a.service/worker\n"), "a.service");
    }

    #[test]
    fn a_container_is_named_by_its_runtime_and_the_start_of_its_number() {
        let docker = format!("0::/system.slice/docker-{ID}.scope\n");
        assert_eq!(unit(&docker).unwrap(), "docker 4f1d22a0c6e9");
        let bare = format!("1:name=systemd:/docker/{ID}\n");
        assert_eq!(unit(&bare).unwrap(), "container 4f1d22a0c6e9");
        let inside = format!("0::/kubepods.slice/cri-containerd-{ID}.scope/init\n");
        assert_eq!(unit(&inside).unwrap(), "cri-containerd 4f1d22a0c6e9");
    }

    #[test]
    fn anything_else_is_told_as_it_is_and_the_root_not_at_all() {
        assert_eq!(unit("0::/lxc/web\u{1b}[2J\n").unwrap(), "/lxc/web\\x1b[2J");
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(unit(""), None);
        assert_eq!(unit("nonsense"), None);
    }

    #[test]
    fn what_was_known_stays_when_the_process_is_gone_and_nobody_is_asked_about_twice() {
        let mut units = Units::default();
        units.want(Mono(0), 7);
        units.want(Mono(0), 7);
        units.want(Mono(0), 0);
        assert_eq!(units.take_wanted(), [7]);
        units.want(Mono(1), 7);
        units.want(Mono(1), 8);
        assert_eq!(units.take_wanted(), [0; 0]);
        let text = b"0::/system.slice/a.service".to_vec();
        units.learn(Mono(2), &[(7, Some(text))]);
        assert_eq!(units.of(7).as_deref(), Some("a.service"));
        assert_eq!(units.take_wanted(), [8]);
        units.learn(Mono(3), &[(8, None)]);
        let later = Mono(120_000_000_000);
        units.want(later, 7);
        assert_eq!(units.take_wanted(), [7]);
        units.learn(later, &[(7, None)]);
        assert_eq!(units.of(7).as_deref(), Some("a.service"));
        assert_eq!(units.of(8), None);
    }
}

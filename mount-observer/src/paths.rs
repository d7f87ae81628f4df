//! Failed paths that the kernel side could not attribute: kept until their task's links are known.
//!
//! The result is a guess: symbolic links and races with the task are not seen. It is labelled
//! `attribution=path` wherever it shows.

use std::collections::VecDeque;

use crate::{decode::Ended, input::Links};

/// Records that wait for links.
const PENDING_MAX: usize = 64;

/// Longest path attributed; the kernel's `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// Records that wait for their task's links.
#[derive(Clone, Debug, Default)]
pub struct PendingPaths {
    waiting: VecDeque<Ended>,
    /// Records given up because too many waited.
    pub refused: u64,
}

impl PendingPaths {
    /// Keeps a record; the oldest gives way.
    pub fn push(&mut self, event: Ended) {
        if self.waiting.len() >= PENDING_MAX {
            self.waiting.pop_front();
            self.refused += 1;
        }
        self.waiting.push_back(event);
    }

    /// The records the links are about, each with its absolute path.
    pub fn take(&mut self, links: &Links) -> Vec<(Ended, Vec<u8>)> {
        let is_asked = |event: &Ended| {
            let dfd = event.path.as_ref().map(|argument| argument.dfd);
            event.caller.tid == links.tid && dfd == Some(links.dfd)
        };
        let (asked, others) = self.waiting.drain(..).partition(is_asked);
        self.waiting = others;
        let asked: VecDeque<Ended> = asked;
        let resolved = asked.into_iter().filter_map(|event| {
            let path = absolute(&event.path.as_ref()?.path, links)?;
            Some((event, path))
        });
        resolved.collect()
    }
}

/// The absolute path in the task's namespace; `None` when a link it hangs on is not known.
fn absolute(path: &[u8], links: &Links) -> Option<Vec<u8>> {
    let root = links.root.as_deref()?;
    let start = if path.starts_with(b"/") {
        root
    } else {
        links.base.as_deref()?
    };
    joined(root, start, path)
}

/// A path from where it starts, `.`, `..` and `//` taken out as if no component were a link; never above
/// `root`. `None` when it is longer than the kernel takes.
pub fn joined(root: &[u8], start: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let floor = components(root).count();
    for part in components(start).chain(components(path)) {
        match part {
            b"." => {}
            b".." => parts.truncate(parts.len().saturating_sub(1).max(floor)),
            part => parts.push(part),
        }
    }
    let length = parts.iter().map(|part| part.len() + 1).sum::<usize>();
    let mut joined = Vec::with_capacity(length.max(1));
    for part in parts {
        joined.push(b'/');
        joined.extend_from_slice(part);
    }
    if joined.is_empty() {
        joined.push(b'/');
    }
    (joined.len() <= PATH_MAX).then_some(joined)
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(root: &[u8], base: &[u8]) -> Links {
        Links {
            tid: 1,
            dfd: -100,
            root: Some(root.to_vec()),
            base: Some(base.to_vec()),
        }
    }

    #[test]
    fn paths_are_normalised_without_looking() {
        let at_home = links(b"/", b"/home/me");
        for (path, expected) in [
            ("a/b", "/home/me/a/b"),
            ("../x//y/./z", "/home/x/y/z"),
            ("/mnt/a/../b", "/mnt/b"),
            ("../../../..", "/"),
            ("", "/home/me"),
        ] {
            let found = absolute(path.as_bytes(), &at_home);
            assert_eq!(found.as_deref(), Some(expected.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_changed_root_is_never_left() {
        let jail = links(b"/srv/jail", b"/srv/jail/tmp");
        let found = |path: &[u8]| absolute(path, &jail).unwrap();
        assert_eq!(found(b"/mnt/a"), b"/srv/jail/mnt/a");
        assert_eq!(found(b"../../../etc"), b"/srv/jail/etc");
    }

    #[test]
    fn without_its_link_a_path_means_nothing() {
        let gone = Links {
            tid: 1,
            dfd: 3,
            root: None,
            base: None,
        };
        assert_eq!(absolute(b"/x", &gone), None);
    }
}

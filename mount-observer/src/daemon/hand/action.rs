//! What the hand does by itself, of what a recovery may need.

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    mount::{UnmountFlags, unmount},
};

use super::protocol::{Action, Answer, OnTop};
use crate::{mountinfo, mounts::covered};

/// Where fusectl is mounted on every system that has it.
const FUSECTL: &str = "/sys/fs/fuse/connections";

/// Does it and says what came of it.
pub(super) fn carry_out(action: &Action) -> Answer {
    let done = match action {
        Action::AbortConnection { connection, of } => {
            expect_on_top(of).and_then(|()| abort(*connection))
        }
        Action::LazyUnmount { of } => expect_on_top(of).and_then(|()| detach(&of.mount_point)),
        Action::IsThere { path } => return is_there(path),
        Action::Lock { path } => return keep_locked(path),
    };
    match done {
        Ok(()) => Answer::Done,
        Err(error) => failed(&error),
    }
}

/// Between the decision and its execution somebody else may have unmounted it, or mounted over it. (A
/// successor may have its very numbers: that is for the decision to find, on a look after each step.)
/// Decided by the text of the table, without a step on any path.
fn expect_on_top(of: &OnTop) -> io::Result<()> {
    let bytes = std::fs::read("/proc/self/mountinfo")?;
    let lines = mountinfo::parse(&bytes).lines;
    let covered = covered(&lines);
    let visible = lines
        .iter()
        .zip(covered)
        .filter(|(_, is_covered)| !is_covered);
    let mut there = visible.filter(|(line, _)| line.mount_point == of.mount_point);
    match there.next_back().map(|(line, _)| line) {
        Some(line) if line.mount_id == of.mount_id && line.dev.0 == of.dev => Ok(()),
        Some(_) => Err(io::Error::other("something else is mounted there by now")),
        None => Err(io::Error::other("nothing is mounted there any more")),
    }
}

/// Not followed: a link where the mount was would lead elsewhere.
fn detach(mount_point: &[u8]) -> io::Result<()> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    Ok(unmount(OsStr::from_bytes(mount_point), flags)?)
}

/// Whatever is written aborts (`fuse_conn_abort_write`, `fs/fuse/control.c`, v6.18).
fn abort(connection: u32) -> io::Result<()> {
    let file = Path::new(FUSECTL)
        .join(connection.to_string())
        .join("abort");
    OpenOptions::new().write(true).open(file)?.write_all(b"1")
}

#[expect(
    clippy::disallowed_methods,
    reason = "only the answer is late where the path leads to a mount that hangs: nobody else waits here"
)]
fn is_there(path: &str) -> Answer {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Answer::Done,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Answer::No,
        Err(error) => failed(&error),
    }
}

fn keep_locked(path: &str) -> Answer {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) => return failed(&error),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Closing would unlock: it is kept until the process ends.
            std::mem::forget(file);
            Answer::Done
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Answer::No,
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &io::Error) -> Answer {
    Answer::Failed {
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let ask = |path: &str| {
            let path = path.to_owned();
            carry_out(&Action::IsThere { path })
        };
        assert_eq!(ask("/proc/self/stat"), Answer::Done);
        assert_eq!(ask("/nonexistent"), Answer::No);
        assert!(matches!(ask("/proc/self/stat/x"), Answer::Failed { .. }));
    }

    #[test]
    fn a_lock_is_taken_once() {
        let path = std::env::temp_dir().join(format!("mount-observer-lock-{}", std::process::id()));
        let action = Action::Lock {
            path: path.to_str().unwrap().to_owned(),
        };
        assert_eq!(carry_out(&action), Answer::Done);
        assert_eq!(carry_out(&action), Answer::No);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_not_what_was_decided_upon_is_not_touched() {
        let bytes = std::fs::read("/proc/self/mountinfo").unwrap();
        let lines = mountinfo::parse(&bytes).lines;
        let root = lines.iter().rfind(|line| line.mount_point == b"/").unwrap();
        let root = OnTop {
            mount_point: b"/".to_vec(),
            mount_id: root.mount_id,
            dev: root.dev.0,
        };
        expect_on_top(&root).unwrap();
        let others = [
            OnTop {
                mount_id: root.mount_id + 1,
                ..root.clone()
            },
            OnTop {
                dev: root.dev + 1,
                ..root.clone()
            },
            OnTop {
                mount_point: b"/nonexistent".to_vec(),
                ..root
            },
        ];
        for of in others {
            let why = expect_on_top(&of).unwrap_err().to_string();
            assert!(why.contains("there"), "{why}");
            let answer = carry_out(&Action::LazyUnmount { of });
            assert_eq!(answer, Answer::Failed { why });
        }
    }
}

//! One command: started with nothing of ours, followed until it ends or its time is over.

use std::{
    io::{self, PipeReader, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use super::protocol::{Answer, Run};
use crate::{daemon::clock, text, time::Mono};

/// Where distributions put programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of what a command writes; the rest is read and forgotten, so that it never waits.
const SAID_BYTES_MAX: usize = 2 << 10;
/// How long a killed process may take to go before its killer answers without it.
const KILL_MAX: Duration = Duration::from_secs(1);

/// Runs a command and answers once; returns when it is gone, which may be later.
pub(super) fn run(run: &Run, answer: impl FnOnce(Answer)) {
    let failed = |error: io::Error| Answer::Failed {
        why: error.to_string(),
    };
    let (child, output) = match start(run) {
        Ok(started) => started,
        Err(error) => return answer(failed(error)),
    };
    let deadline = Duration::from_millis(run.timeout_ms);
    match follow(child, output, deadline) {
        Ok(Ended::ByItself(status, said)) => answer(of_status(status, said)),
        Ok(Ended::Killed(mut child, said)) => {
            answer(Answer::TimedOut { said });
            // What waits in the kernel goes when it can.
            child.wait().ok();
        }
        Err(error) => answer(failed(error)),
    }
}

/// Starts it in `/`, in a process group of its own, with an environment of its own.
fn start(run: &Run) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = run
        .command
        .split_first()
        .ok_or_else(|| io::Error::other("there is no command"))?;
    let (output, for_child) = io::pipe()?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(&run.environment)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(input(&run.input)?))
        .stdout(for_child.try_clone()?)
        .stderr(for_child)
        .spawn()?;
    Ok((child, output))
}

/// A file in memory: nobody waits for a reader, however long the input is.
fn input(text: &str) -> io::Result<OwnedFd> {
    let memory = memfd_create(c"alert", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

enum Ended {
    ByItself(ExitStatus, String),
    Killed(Child, String),
}

fn follow(mut child: Child, mut output: PipeReader, limit: Duration) -> io::Result<Ended> {
    let pid = Pid::from_child(&child);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut said = Vec::new();
    let mut is_open = true;
    let mut deadline = Deadline::after(limit);
    let mut is_killed = false;
    loop {
        let mut watched = vec![PollFd::new(&process, PollFlags::IN)];
        if is_open {
            watched.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
        }
        let ready = match poll(&mut watched, Some(&deadline.left())) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let has_output = watched.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let has_ended = watched.first().is_some_and(|fd| !fd.revents().is_empty());
        if has_output {
            is_open = read_some(&mut output, &mut said)?;
        } else if has_ended {
            let said = text::lossy(&said);
            return Ok(if is_killed {
                Ended::Killed(child, said)
            } else {
                Ended::ByItself(child.wait()?, said)
            });
        } else if ready == 0 && is_killed {
            return Ok(Ended::Killed(child, text::lossy(&said)));
        }
        if deadline.is_over() && !is_killed {
            is_killed = true;
            deadline = Deadline::after(KILL_MAX);
            // A group that is gone has ended just now.
            kill_process_group(pid, Signal::KILL).ok();
        } else if deadline.is_over() {
            return Ok(Ended::Killed(child, text::lossy(&said)));
        }
    }
}

/// Keeps the beginning; `false` at the end of the output.
fn read_some(output: &mut PipeReader, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    let read = output.read(&mut bytes)?;
    let room = SAID_BYTES_MAX.saturating_sub(said.len());
    said.extend(bytes.iter().take(read.min(room)));
    Ok(read > 0)
}

fn of_status(status: ExitStatus, said: String) -> Answer {
    match (status.code(), status.signal()) {
        (Some(code), _) => Answer::Exited { code, said },
        (None, Some(signal)) => Answer::Killed { signal, said },
        (None, None) => Answer::Failed {
            why: status.to_string(),
        },
    }
}

struct Deadline(Mono, Duration);

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(clock::now().mono, limit)
    }

    fn remaining(&self) -> Duration {
        self.1.saturating_sub(clock::now().mono.since(self.0))
    }

    fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    fn left(&self) -> Timespec {
        let left = self.remaining();
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        }
    }
}

//! Processes a test starts. None of them outlives its test: the sandbox kills them all at its end,
//! and the kernel does when the test's thread dies before that.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fmt, fs,
    process::{Child, Command, ExitStatus},
    rc::Rc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::wait::{patience, poll, within};

/// For a process to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A process started by the test; a handle that can be cloned and dropped freely.
#[derive(Clone)]
pub struct Process {
    child: Rc<RefCell<Child>>,
    pid: u32,
    name: Rc<str>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.pid)
    }
}

impl Process {
    /// Adopts a child that leads a process group of its own.
    pub(crate) fn new(child: Child, name: &OsStr) -> Self {
        Self {
            pid: child.id(),
            child: Rc::new(RefCell::new(child)),
            name: name.to_string_lossy().into(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is already gone and reaped.
    pub fn signal(&self, signal: Signal) {
        crate::process::signal(self.pid, signal);
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&self) {
        stop(self.pid);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Its state as `ps` shows it; `None` when it is gone.
    pub fn state(&self) -> Option<char> {
        task_state(self.pid)
    }

    /// How it ended, if it did so within the time.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn exited_within(&self, deadline: Duration) -> Option<ExitStatus> {
        poll(patience(deadline), || {
            self.child
                .borrow_mut()
                .try_wait()
                .unwrap_or_else(|error| panic!("wait for {self:?}: {error}"))
        })
    }

    /// Everything it wrote to a piped standard output, once it has ended.
    ///
    /// # Panics
    /// When its output was not piped, or it does not end within the deadline.
    pub fn output_within(&self, deadline: Duration) -> String {
        assert!(
            self.exited_within(deadline).is_some(),
            "{self:?} is still there"
        );
        let stdout = self
            .child
            .borrow_mut()
            .stdout
            .take()
            .expect("stdout is piped");
        std::io::read_to_string(stdout).expect("output of a process that ended")
    }

    /// The child itself, for its pipes.
    pub(crate) fn child(&self) -> &RefCell<Child> {
        &self.child
    }

    /// Kills it and everything in its process group.
    pub(crate) fn kill_group(&self) {
        match signal::killpg(raw(self.pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => crate::needs::say(&format!("cannot kill {self:?}: {error}")),
        }
    }
}

/// Sends a signal to any process.
///
/// # Panics
/// When there is none, or it is not ours to signal.
pub fn signal(pid: u32, signal: Signal) {
    signal::kill(raw(pid), signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}

/// Stops any process and waits until no thread of it runs: a signal that was sent may not have
/// arrived yet.
///
/// # Panics
/// When it does not stop.
pub fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    within(STOP_DEADLINE, &format!("{pid} stops"), || {
        let is_stopped = |tid| task_state(tid) == Some('T');
        threads(pid).into_iter().all(is_stopped).then_some(())
    });
}

/// State letter of any process or thread, from its `/proc/PID/stat`.
pub fn task_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, a closing parenthesis included.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The kernel function a thread waits in (`/proc/PID/wchan`); `None` when it runs or is gone.
pub fn waits_in(pid: u32) -> Option<String> {
    let function = fs::read_to_string(format!("/proc/{pid}/wchan")).ok()?;
    if function != "0" {
        return Some(function);
    }
    // Debian's 5.10 shows 0 for every task (a backport of 42a20f86dc19), and the stack to root.
    let stack = fs::read_to_string(format!("/proc/{pid}/stack")).ok()?;
    let is_waiting = matches!(task_state(pid), Some('S' | 'D'));
    innermost(&stack).filter(|_| is_waiting).map(str::to_owned)
}

/// `request_wait_answer` of `[<0>] request_wait_answer+0x62/0x1e0`.
fn innermost(stack: &str) -> Option<&str> {
    let (_, frame) = stack.lines().next()?.split_once("] ")?;
    frame.split('+').next()
}

/// Ids of a process's threads; none when it is gone.
#[expect(clippy::disallowed_methods, reason = "the directory is in /proc")]
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// The command that runs `program` so that it dies with the thread that starts it.
pub(crate) fn mortal(program: &OsStr) -> Command {
    // PR_SET_PDEATHSIG survives the exec, and setpriv (util-linux) keeps pid and process group.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("pid_max is below 2^22"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_is_on_the_first_line() {
        let stack = "[<0>] request_wait_answer+0x62/0x1e0 [fuse]\n[<0>] fuse_lookup_name+0x1/0x2\n";
        assert_eq!(innermost(stack), Some("request_wait_answer"));
        assert_eq!(innermost(""), None);
    }
}

//! Threads that read other processes' links in `/proc` for those that cannot.
//!
//! Landlock refuses every check that a debugger would have to pass to whoever it confines, whatever
//! capabilities they hold (`hook_ptrace_access_check`, `security/landlock/task.c`, v6.18), and
//! `readlink` of `/proc/PID/{ns/mnt,cwd,root,fd/N}` is such a check (`proc_pid_readlink`,
//! `fs/proc/base.c`). So these links are read on threads of their own, which keep two capabilities and
//! are confined by the mount table alone.

use std::{
    io,
    sync::{
        OnceLock,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use rustix::thread::CapabilitySet;

/// Requests that wait: one for each thread that may ask at a time, and more.
const QUEUE_MAX: usize = 16;

/// What reading links takes.
const NEEDED: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

type Work = Box<dyn FnOnce() + Send>;

/// One thread, whose owner waits for each answer.
#[derive(Debug)]
pub(in crate::daemon) struct Clerk {
    name: &'static str,
    queue: OnceLock<SyncSender<Work>>,
}

/// Reads the links of one task, for the loop: microseconds.
pub(in crate::daemon) static LINKS: Clerk = Clerk::new("links");

/// Looks at the links of every process, for the job that does so: milliseconds.
pub(in crate::daemon) static NAMESPACES: Clerk = Clerk::new("namespaces");

impl Clerk {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            queue: OnceLock::new(),
        }
    }

    /// Starts the thread, which keeps of this one's privileges what it needs.
    pub(super) fn start(&self) -> io::Result<()> {
        let (queue, requests) = sync_channel(QUEUE_MAX);
        thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || serve(&requests))?;
        // A second one, in a process that confines itself twice, ends at once.
        self.queue.set(queue).ok();
        Ok(())
    }

    /// Does the work on the thread, and waits for it; here, where no thread was started.
    pub(in crate::daemon) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let Some(queue) = self.queue.get() else {
            return Ok(work());
        };
        let (answer, answers) = sync_channel(1);
        let asked = queue.send(Box::new(move || {
            // Whoever asked waits, or has gone.
            answer.send(work()).ok();
        }));
        // Where nobody took the question there is no answer either.
        drop(asked);
        answers.recv().map_err(io::Error::other)
    }
}

fn serve(requests: &Receiver<Work>) {
    // Without, it only keeps more than it uses.
    super::keep_of_held(NEEDED).ok();
    for work in requests {
        work();
    }
}

//! The hand: a child process that runs commands for the daemon.
//!
//! The daemon confines itself, and whatever it starts then inherits that: no capability, no file
//! beyond its own few. So a child of the same program is started before, and only where the
//! configuration has something for it to do. It waits on a socket for tasks, runs several at a time,
//! each with a time limit, and does nothing by itself. When the daemon ends, so does the hand, once
//! what runs has ended.
//!
//! Its directory is `/` and it knows no mount: nothing it does by itself can hang there. A command
//! that hangs is killed with its process group; one that survives that keeps a place
//! ([`TASKS_MAX`]) until it goes, and nothing else.

mod action;
mod child;
mod command;
mod protocol;

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use self::protocol::{Request, read_frame, write_frame};
pub use self::{
    child::serve,
    protocol::{Action, Answer, OnTop, Run, Task},
};
use super::confine;

/// The hidden subcommand that is the hand.
pub const SUBCOMMAND: &str = "hand";
/// Commands that run at the same time; what is asked beyond is answered with [`Answer::Busy`].
pub const TASKS_MAX: usize = 8;
/// How much longer than a command's own limit an answer may take: it is killed and waited for.
const GRACE: Duration = Duration::from_secs(5);
/// A hand that takes no task for this long is stuck or gone.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// The process is not there any more.
    #[error("the process that runs commands is gone; restart the observer")]
    Gone(#[source] io::Error),
    /// It is there and does not answer.
    #[error("the process that runs commands does not answer")]
    Silent,
}

/// The daemon's end. Cheap to clone; any thread may ask.
#[derive(Clone, Debug)]
pub struct Hand(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: Mutex<UnixStream>,
    waiting: Waiting,
    next_id: AtomicU64,
}

/// Who waits for which answer; `None` once no answer will come.
type Waiting = Arc<Mutex<Option<BTreeMap<u64, SyncSender<Answer>>>>>;

impl Hand {
    /// Starts the process. Call it before privileges are given up.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // The program that runs now, wherever its file has gone since.
        let child = Command::new("/proc/self/exe")
            .arg0("mount-observer")
            .arg(SUBCOMMAND)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Self::over(ours, move || {
            let mut child = child;
            // It ends with its socket: this only takes it off the process table.
            child.wait().ok();
        })
    }

    /// Talks over this socket; `at_end` runs once the other side is gone.
    fn over(socket: UnixStream, at_end: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let mut answers = socket.try_clone()?;
        socket.set_write_timeout(Some(WRITE_MAX))?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let told = Arc::clone(&waiting);
        thread::Builder::new()
            .name("hand".to_owned())
            .spawn(move || {
                // Without, it only keeps more than it uses.
                confine::give_up_all().ok();
                while let Ok(Some(reply)) = read_frame::<protocol::Reply>(&mut answers) {
                    let asker = lock(&told).as_mut().and_then(|who| who.remove(&reply.id));
                    // Whoever gave up waiting is not there any more.
                    asker.map(|asker| asker.try_send(reply.answer));
                }
                lock(&told).take();
                at_end();
            })?;
        Ok(Self(Arc::new(Inner {
            socket: Mutex::new(socket),
            waiting,
            next_id: AtomicU64::new(1),
        })))
    }

    /// Has a task done and waits for the answer: for threads that may wait.
    pub fn ask(&self, task: Task) -> Result<Answer, HandError> {
        let patience = task.timeout() + GRACE;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = sync_channel(1);
        match &mut *lock(&self.0.waiting) {
            Some(waiting) => waiting.insert(id, asker),
            None => return Err(gone()),
        };
        let request = Request { id, task };
        let sent = write_frame(&mut *lock(&self.0.socket), &request);
        let answer = sent.map_err(HandError::Gone).and_then(|()| {
            answer.recv_timeout(patience).map_err(|error| match error {
                RecvTimeoutError::Timeout => HandError::Silent,
                RecvTimeoutError::Disconnected => gone(),
            })
        });
        if let Some(waiting) = &mut *lock(&self.0.waiting) {
            waiting.remove(&id);
        }
        answer
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Ends the thread that reads, and with it the process.
        lock(&self.socket).shutdown(std::net::Shutdown::Both).ok();
    }
}

fn gone() -> HandError {
    HandError::Gone(io::ErrorKind::BrokenPipe.into())
}

/// A panic of another thread leaves a map of who waits, which is right whatever it was doing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

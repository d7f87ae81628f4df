//! Standard output: a thread of its own behind a bounded queue, so that a terminal that stands still
//! (Ctrl-S) or a slow pipe costs lines and never records.

use std::{
    io::{self, BufWriter, Write},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use rustix::termios::tcgetwinsize;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    daemon::{clock, confine, run::RunError},
    render::{
        status::Medium,
        trace::{self, Paper, json},
    },
    trace::{Line, Lost, Summary},
};

/// Batches that wait to be written.
const BATCHES_MAX: usize = 1_024;
/// Lines that wait to be written, at some 400 B each: 26 MiB.
const LINES_MAX: u64 = 65_536;

/// Between two looks for room, in the end.
const ROOM_EVERY: Duration = Duration::from_millis(20);
/// Columns where a terminal does not say.
const COLUMNS: usize = 80;

/// How lines are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// One object each, for programs.
    pub is_json: bool,
    /// Only the summary.
    pub is_quiet: bool,
    /// What standard output is.
    pub medium: Medium,
}

/// What was not shown.
#[derive(Debug, Default)]
struct Left {
    /// Lines that wait.
    queued: AtomicU64,
    /// Lines left out, all in all.
    lost: AtomicU64,
    /// Nothing can be written any more.
    is_unread: AtomicBool,
    /// Why, unless whoever read has gone.
    failure: Mutex<Option<io::Error>>,
}

impl Left {
    fn failure(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Message {
    Note(String),
    Lines(Vec<Line>),
    End(Option<Box<Summary>>, oneshot::Sender<()>),
}

/// The sending end.
#[derive(Debug)]
pub(super) struct Output {
    sender: SyncSender<Message>,
    left: Arc<Left>,
    is_quiet: bool,
}

impl Output {
    pub(super) fn start(form: Form) -> Result<Self, RunError> {
        let (sender, messages) = sync_channel(BATCHES_MAX);
        let left = Arc::new(Left::default());
        let shared = Arc::clone(&left);
        let run = move || {
            // Without, it only keeps more than it uses.
            confine::give_up_all().ok();
            let mut writer = Writer::new(form, &shared);
            if let Err(error) = writer.run(&messages) {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    *shared.failure() = Some(error);
                }
                shared.is_unread.store(true, Ordering::Relaxed);
            }
        };
        let started = thread::Builder::new().name("output".to_owned()).spawn(run);
        started.map_err(|error| RunError::System("start a thread", error))?;
        Ok(Self {
            sender,
            left,
            is_quiet: form.is_quiet,
        })
    }

    /// Says something on standard error.
    pub(super) fn note(&self, text: String) {
        // The first message of all, or the last but one; where there is no room nobody reads.
        self.sender.try_send(Message::Note(text)).ok();
    }

    /// Waits until there is room for so many lines, or the time is over.
    pub(super) async fn wait_for_room(&self, count: usize, deadline: Instant) {
        let count = u64::try_from(count).unwrap_or(u64::MAX).min(LINES_MAX);
        let has_room = || self.left.queued.load(Ordering::Relaxed) + count <= LINES_MAX;
        while !self.is_quiet && !has_room() && Instant::now() < deadline {
            tokio::time::sleep(ROOM_EVERY).await;
        }
    }

    /// Shows lines, and counts those that nobody is there in time to read.
    pub(super) fn show(&self, mut lines: Vec<Line>) {
        if self.is_quiet {
            return;
        }
        let all = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let room = LINES_MAX.saturating_sub(self.left.queued.load(Ordering::Relaxed));
        let count = all.min(room);
        self.left.lost.fetch_add(all - count, Ordering::Relaxed);
        lines.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        if lines.is_empty() {
            return;
        }
        self.left.queued.fetch_add(count, Ordering::Relaxed);
        match self.sender.try_send(Message::Lines(lines)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.left.queued.fetch_sub(count, Ordering::Relaxed);
                self.left.lost.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Whether writing failed: a closed pipe.
    pub(super) fn is_unread(&self) -> bool {
        self.left.is_unread.load(Ordering::Relaxed)
    }

    /// Why nothing can be written any more, unless whoever read has gone.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.left.failure().take()
    }

    /// Shows the summary, and ends once everything is written.
    pub(super) async fn finish(&self, summary: Option<Summary>) {
        let (done, is_done) = oneshot::channel();
        let mut message = Message::End(summary.map(Box::new), done);
        // A full queue empties when somebody reads; until then there is nothing to do.
        while let Err(TrySendError::Full(refused)) = self.sender.try_send(message) {
            message = refused;
            tokio::time::sleep(ROOM_EVERY).await;
        }
        is_done.await.ok();
    }
}

struct Writer<'a> {
    out: BufWriter<io::Stdout>,
    form: Form,
    left: &'a Left,
    /// Lines left out that whoever reads knows of.
    told_lost: u64,
    /// Nothing is written yet.
    is_new: bool,
}

impl<'a> Writer<'a> {
    fn new(form: Form, left: &'a Left) -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            form,
            left,
            told_lost: 0,
            is_new: true,
        }
    }

    fn run(&mut self, messages: &Receiver<Message>) -> io::Result<()> {
        for message in messages {
            match message {
                Message::Note(text) => {
                    // Standard error may be closed.
                    io::stderr().write_all(text.as_bytes()).ok();
                    if std::mem::take(&mut self.is_new) {
                        self.heading()?;
                    }
                }
                Message::Lines(lines) => self.lines(&lines)?,
                Message::End(summary, done) => {
                    self.tell_lost()?;
                    self.summary(summary.as_deref())?;
                    self.out.flush()?;
                    done.send(()).ok();
                    return Ok(());
                }
            }
            self.out.flush()?;
        }
        Ok(())
    }

    fn heading(&mut self) -> io::Result<()> {
        if self.form.is_json || self.form.is_quiet {
            return Ok(());
        }
        let heading = trace::heading(self.paper());
        self.out.write_all(heading.as_bytes())
    }

    fn lines(&mut self, lines: &[Line]) -> io::Result<()> {
        self.tell_lost()?;
        let paper = self.paper();
        for line in lines {
            self.line(line, paper)?;
            self.left.queued.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn line(&mut self, line: &Line, paper: Paper) -> io::Result<()> {
        if self.form.is_json {
            return self.object(&json::object(line));
        }
        self.out.write_all(trace::line(line, paper).as_bytes())
    }

    fn object(&mut self, object: &json::Object<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        self.out.write_all(b"\n")
    }

    fn tell_lost(&mut self) -> io::Result<()> {
        let total = self.left.lost.load(Ordering::Relaxed);
        if total == self.told_lost {
            return Ok(());
        }
        let lost = Line::Lost(Lost {
            at: clock::now().wall,
            what: "lines_not_shown",
            count: total - self.told_lost,
            total,
        });
        self.told_lost = total;
        self.line(&lost, self.paper())
    }

    fn summary(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        let Some(summary) = summary else {
            return Ok(());
        };
        if self.form.is_json {
            return self.object(&json::Object::Summary(summary));
        }
        let text = trace::summary::text(summary, self.paper());
        if !self.form.is_quiet {
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(text.as_bytes())
    }

    /// As wide as the screen is now: it may have been resized.
    fn paper(&self) -> Paper {
        let width = || {
            let size = tcgetwinsize(io::stdout().as_fd()).ok();
            let columns = size.map_or(0, |size| usize::from(size.ws_col));
            if columns == 0 { COLUMNS } else { columns }
        };
        Paper {
            width: self.form.medium.is_terminal.then(width),
            is_coloured: self.form.medium.is_coloured,
        }
    }
}

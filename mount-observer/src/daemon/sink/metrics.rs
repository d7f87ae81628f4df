//! Those who get the metrics as they are now: node exporter by a file, a Pushgateway by a push. What
//! lies between two writings needs no queue.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{Failure, counters::Counters};
use crate::daemon::confine;

/// Writes the metrics somewhere.
pub(super) trait WriteMetrics: Send {
    /// Once.
    fn write(&mut self, metrics: &str) -> Result<(), Failure>;
}

/// Who gets the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whoever has metrics of a process of their own already: without ours.
    Collector,
    /// The same with `total_mountpoints` and `dead_mountpoints`, as monitors of mounts have pushed them.
    Push,
}

/// The metrics as text; `None` before the first look at the mounts is done.
pub type Source = Arc<dyn Fn(Form) -> Option<String> + Send + Sync>;

/// Wakes the thread that writes.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    state: Mutex<Nudged>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Nudged {
    is_due: bool,
    is_closed: bool,
}

impl Nudge {
    /// Starts the thread that writes, now and then, and when something changed.
    pub(super) fn start(
        sink: &str,
        counters: Arc<Counters>,
        interval: Duration,
        form: Form,
        source: Source,
        mut writer: Box<dyn WriteMetrics>,
    ) -> io::Result<Arc<Self>> {
        let nudge = Arc::new(Self::default());
        let (behind, sink) = (Arc::clone(&nudge), sink.to_owned());
        thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                // Without, it only keeps more than it uses.
                confine::give_up_capabilities().ok();
                while behind.wait(interval) {
                    if let Some(metrics) = source(form) {
                        counters.attempted(&sink, &writer.write(&metrics));
                    }
                }
            })?;
        Ok(nudge)
    }

    /// Has it write soon.
    pub(super) fn nudge(&self) {
        self.lock().is_due = true;
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// `false` once closed.
    fn wait(&self, interval: Duration) -> bool {
        let state = self.lock();
        let is_idle = |state: &mut Nudged| !state.is_due && !state.is_closed;
        let waited = self.changed.wait_timeout_while(state, interval, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_due = false;
        !state.is_closed
    }

    fn lock(&self) -> MutexGuard<'_, Nudged> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The bounded queue to the thread that writes.

use std::{
    io::Write as _,
    os::unix::net::UnixDatagram,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::daemon::confine;

/// Entries that wait to be written; at some 300 bytes each, 300 KiB.
const QUEUE_MAX: usize = 1_024;
/// How long the end of the program waits for the queue.
const FLUSH_MAX: Duration = Duration::from_millis(200);

/// Where bytes go.
#[derive(Debug)]
pub(super) enum Output {
    Stderr,
    Journal(UnixDatagram),
}

#[derive(Debug)]
enum Message {
    Entry(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The sending end.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    /// Starts the writing thread. Should that fail, every entry is counted as dropped.
    pub(super) fn start(output: Output) -> Self {
        let (queue, entries) = sync_channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let started = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                // Without, it only keeps more than it uses.
                confine::give_up_all().ok();
                write_all(&output, &entries, &lost);
            });
        if started.is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        Self { queue, dropped }
    }

    /// Queues an entry, or counts it.
    pub(super) fn send(&self, entry: Vec<u8>) {
        match self.queue.try_send(Message::Entry(entry)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until what is queued is written, for [`FLUSH_MAX`] at most.
    pub(super) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // On a time-out the output is stuck, and the program must end all the same.
            is_done.recv_timeout(FLUSH_MAX).ok();
        }
    }

    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

fn write_all(output: &Output, messages: &Receiver<Message>, lost: &AtomicU64) {
    for message in messages {
        match message {
            Message::Entry(entry) => {
                let written = match output {
                    Output::Stderr => std::io::stderr().write_all(&entry),
                    Output::Journal(socket) => socket.send(&entry).map(drop),
                };
                if written.is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Flush(done) => done.send(()).ok().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_output_costs_entries_and_never_time() {
        let (stuck, _never_read) = UnixDatagram::pair().unwrap();
        let sink = Sink::start(Output::Journal(stuck));
        for _ in 0..QUEUE_MAX * 4 {
            sink.send(vec![b'x'; 64]);
        }
        assert!(sink.dropped().load(Ordering::Relaxed) > 0);
        sink.flush();
    }

    #[test]
    fn a_flush_waits_for_what_is_queued() {
        let (output, reader) = UnixDatagram::pair().unwrap();
        let sink = Sink::start(Output::Journal(output));
        sink.send(b"one".to_vec());
        sink.flush();
        reader.set_nonblocking(true).unwrap();
        let mut bytes = [0; 8];
        let length = reader.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"one");
    }
}

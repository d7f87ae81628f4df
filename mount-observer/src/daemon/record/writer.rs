//! The thread that packs and writes.

use std::sync::{Arc, atomic::Ordering, mpsc::Receiver};

use super::{
    Message, RecordFile, Shared,
    flight::{Flight, FlightOptions},
};
use crate::{
    daemon::run::chain,
    recording::{FileRing, Header, Piece, Said, TooSmall},
    time::Now,
};

/// What it works on.
#[derive(Debug)]
pub(super) struct Writer {
    file: Option<(RecordFile, FileRing)>,
    flight: Option<Flight>,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(
        header: &Header,
        file: Option<RecordFile>,
        flight: Option<FlightOptions>,
        shared: Arc<Shared>,
    ) -> Self {
        let mut writer = Self {
            file: None,
            flight: flight.map(|options| Flight::new(header.clone(), options)),
            shared,
        };
        if let Some(mut file) = file {
            match FileRing::new(header.clone(), file.bytes_max()) {
                Ok((ring, first)) => {
                    let written = writer.write(&mut file, Ok(vec![first]));
                    writer.file = written.then_some((file, ring));
                }
                Err(error) => writer.fail(&file, &error),
            }
        }
        writer
    }

    /// Works until there is nobody left, or the end is asked for.
    pub(super) fn run(&mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Said(batch) => self.take(batch),
                Message::Incident(incident) => {
                    if let Some(flight) = &mut self.flight {
                        flight.want(incident);
                    }
                }
                Message::End(done) => {
                    self.save_due(true);
                    self.end();
                    // Whoever asked may have gone on.
                    done.try_send(()).ok();
                    return;
                }
            }
            self.save_due(false);
        }
    }

    fn take(&mut self, batch: Vec<(Now, Said)>) {
        let inputs = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if let Some(flight) = &mut self.flight {
            for (now, said) in &batch {
                flight.push(*now, said);
            }
        }
        let Some((mut file, mut ring)) = self.file.take() else {
            return;
        };
        for (now, said) in batch {
            // What is too long for a frame is said to be missing.
            if !ring.push(now, said) && !ring.push(now, Said::Lost(1)) {
                break;
            }
            if ring.is_full() && !self.write(&mut file, ring.flush()) {
                return;
            }
        }
        if self.write(&mut file, ring.flush()) {
            self.shared.recorded.fetch_add(inputs, Ordering::Relaxed);
            self.file = Some((file, ring));
        }
    }

    fn end(&mut self) {
        let Some((mut file, mut ring)) = self.file.take() else {
            return;
        };
        let pieces = ring.finish();
        if self.write(&mut file, pieces)
            && let Err(error) = file.sync()
        {
            self.fail(&file, &error);
        }
    }

    /// False when it failed: the file is not written any more.
    fn write(&self, file: &mut RecordFile, pieces: Result<Vec<Piece>, TooSmall>) -> bool {
        let pieces = match pieces {
            Ok(pieces) => pieces,
            Err(error) => {
                self.fail(file, &error);
                return false;
            }
        };
        for piece in pieces {
            if let Err(error) = file.write(&piece) {
                self.fail(file, &error);
                return false;
            }
        }
        self.shared.bytes.store(file.bytes(), Ordering::Relaxed);
        true
    }

    fn fail(&self, file: &RecordFile, error: &dyn std::error::Error) {
        let path = file.path().display();
        let why = chain(error);
        tracing::error!("recording to {path} ended: {why}; it can be read up to there");
        self.shared
            .set_failure(format!("recording to {path} ended: {why}"));
    }

    fn save_due(&mut self, is_end: bool) {
        let Some(flight) = &mut self.flight else {
            return;
        };
        while let Some(saved) = flight.save_due(is_end) {
            match saved {
                Ok(path) => {
                    self.shared.saved.fetch_add(1, Ordering::Relaxed);
                    self.shared.set_unsaved(None);
                    let path = path.display();
                    tracing::info!("what led to the alert was saved: {path}");
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::warn!(why, "what led to the alert cannot be saved");
                    self.shared.set_unsaved(Some(why));
                }
            }
        }
    }
}

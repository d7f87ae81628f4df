//! The thread that packs and writes.

use std::sync::{Arc, atomic::Ordering, mpsc::Receiver};

use super::{
    Message, RecordFile, Shared,
    flight::{Flight, FlightOptions},
};
use crate::{
    daemon::run::chain,
    incident::IncidentId,
    recording::{FileRing, Header, Piece, Said, TooSmall},
    time::Now,
};

/// What it works on.
#[derive(Debug)]
pub(super) struct Writer {
    /// Whether a file was asked for.
    has_file: bool,
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
            has_file: file.is_some(),
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
                Message::Said(batch, bytes) => {
                    self.take(batch);
                    self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
                }
                Message::Incident(incident) => self.want(incident),
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
        let is_input = |(_, said): &&(Now, Said)| !matches!(said, Said::Lost(_));
        let inputs = batch.iter().filter(is_input).count();
        let inputs = u64::try_from(inputs).unwrap_or(u64::MAX);
        if let Some(flight) = &mut self.flight {
            for (now, said) in &batch {
                flight.push(*now, said);
            }
        }
        let too_long = self.put(batch);
        let unwritten = too_long.unwrap_or(inputs);
        self.shared
            .recorded
            .fetch_add(inputs.saturating_sub(unwritten), Ordering::Relaxed);
        if self.has_file {
            self.shared
                .unwritten
                .fetch_add(unwritten, Ordering::Relaxed);
        }
    }

    /// Puts it into the file, and says how many were too long for it; `None` where there is no file, or
    /// none any more.
    fn put(&mut self, batch: Vec<(Now, Said)>) -> Option<u64> {
        let (mut file, mut ring) = self.file.take()?;
        let mut too_long = 0;
        for (now, said) in batch {
            if !ring.push(now, said) {
                too_long += 1;
                if !ring.push(now, Said::Lost(1)) {
                    break;
                }
            }
            if ring.is_full() && !self.write(&mut file, ring.flush()) {
                return None;
            }
        }
        let is_written = self.write(&mut file, ring.flush());
        is_written.then(|| {
            self.file = Some((file, ring));
            too_long
        })
    }

    fn want(&mut self, incident: IncidentId) {
        let Some(flight) = &mut self.flight else {
            return;
        };
        if let Err(error) = flight.want(incident) {
            let why = chain(&error);
            tracing::warn!(why, "what led to an alert will not be saved");
            self.shared.set_unsaved(Some(why));
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

//! `/api/v1/incidents`: the journal, as `mount-observer incidents --json` shows it, and what of it is
//! not written yet. A disk that hangs costs two threads and no more: whoever asks then is told so.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::Shared;
use crate::{
    daemon::{
        run::chain,
        store::{Filter, Journal, StoreError},
    },
    incident::Summary,
};

/// Listed where `limit` does not say how many.
const LISTED: usize = 1000;

/// Readings of the journal at a time.
pub(super) const READINGS_MAX: usize = 2;

/// A reading takes milliseconds.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// The journal and who may read it now.
#[derive(Clone, Debug)]
pub(super) struct Source {
    journal: Journal,
    readings: Arc<Semaphore>,
}

impl Source {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            readings: Arc::new(Semaphore::new(READINGS_MAX)),
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Answers from the journal, on a thread that may hang.
    async fn read<T: Serialize + Send + 'static>(
        &self,
        query: impl FnOnce(&Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Response {
        let busy = || {
            let why = "the journal does not answer; its disk may hang\n";
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        };
        let Ok(permit) = Arc::clone(&self.readings).try_acquire_owned() else {
            return busy();
        };
        let journal = self.journal.clone();
        let reading = spawn_blocking(move || {
            let answer = query(&journal);
            drop(permit);
            answer
        });
        match timeout(READ_WITHIN, reading).await {
            Ok(Ok(Ok(answer))) => Json(answer).into_response(),
            Ok(Ok(Err(error))) => refused(&error),
            Ok(Err(_)) | Err(_) => busy(),
        }
    }
}

fn refused(error: &StoreError) -> Response {
    let status = if matches!(error, StoreError::Id(_)) {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, format!("{}\n", chain(error))).into_response()
}

/// The answer to `/api/v1/incidents`.
#[derive(Debug, Serialize)]
pub(super) struct List {
    incidents: Vec<Summary>,
}

pub(super) async fn list(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let filter = match filter(query.as_deref().unwrap_or_default()) {
        Ok(filter) => filter,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let list = move |journal: &Journal| {
        let incidents = journal.list(&filter)?;
        Ok(List { incidents })
    };
    shared.incidents.read(list).await
}

pub(super) async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let find = move |journal: &Journal| journal.find(&id);
    shared.incidents.read(find).await
}

fn filter(query: &str) -> Result<Filter, String> {
    let mut filter = Filter {
        limit: Some(LISTED),
        ..Filter::default()
    };
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("open", "true")) => filter.is_open = true,
            Some(("open", "false")) => filter.is_open = false,
            Some(("limit", number)) => {
                let number: usize = number
                    .parse()
                    .map_err(|_bad| "limit must be a whole number".to_owned())?;
                filter.limit = Some(number.min(LISTED));
            }
            _ => return Err("there are open=true|false and limit=NUMBER".to_owned()),
        }
    }
    Ok(filter)
}

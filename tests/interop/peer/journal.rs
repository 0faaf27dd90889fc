//! What a server saw of each call, to be asked for by the other side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::HeaderMap;
use mainstay::Context;

use crate::proto::Entry;

/// All calls since the server began, by their key.
#[derive(Clone)]
pub(crate) struct Journal {
    calls: Arc<Mutex<HashMap<String, Vec<Entry>>>>,
    began: Instant,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            calls: Arc::default(),
            began: Instant::now(),
        }
    }

    /// A call has begun. It is dropped unless it is told to have ended.
    pub(crate) fn begin(&self, method: &str, key: &str, headers: &HeaderMap) -> Begun {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let entry = Entry {
            method: method.to_owned(),
            remaining_ms: remaining(),
            previous_attempts: header("grpc-previous-rpc-attempts")
                .unwrap_or_default()
                .to_owned(),
            correlation_id: header("x-correlation-id").unwrap_or_default().to_owned(),
            began_ms: self.began.elapsed().as_millis() as u64,
            ..Entry::default()
        };
        let number = self.with(key, |entries| {
            entries.push(entry);
            entries.len()
        });
        Begun {
            journal: self.clone(),
            key: key.to_owned(),
            number,
        }
    }

    pub(crate) fn of(&self, key: &str) -> Vec<Entry> {
        self.with(key, |entries| entries.clone())
    }

    fn with<T>(&self, key: &str, look: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        look(calls.entry(key.to_owned()).or_default())
    }
}

/// What the context says to be left, in whole milliseconds; -1 is no deadline.
pub(crate) fn remaining() -> i64 {
    let left = Context::current().remaining();
    left.map_or(-1, |left| left.as_millis() as i64)
}

/// A call that is under way.
pub(crate) struct Begun {
    journal: Journal,
    key: String,
    /// The first of its key is 1.
    pub(crate) number: usize,
}

impl Begun {
    pub(crate) fn end(&self) {
        self.entry(|entry| entry.ended = true);
    }

    fn entry(&self, change: impl FnOnce(&mut Entry)) {
        self.journal
            .with(&self.key, |entries| change(&mut entries[self.number - 1]));
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.entry(|entry| entry.dropped = !entry.ended);
    }
}

//! What goes in and comes out: requests that are counted, and responses and errors that can do as little as possible.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use mainstay::Carry;

use crate::log::Log;

/// The field that the correlation layers read and write first.
pub(crate) const FIELD: &str = "x-correlation-id";

/// A request. It can be cloned because retry asks for it; the tests of types send others.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) fields: BTreeMap<String, String>,
    alive: Alive,
}

/// A response: neither `Sync` nor `Clone`, because no layer has a reason to ask for that.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) id: u32,
    pub(crate) fields: BTreeMap<String, String>,
    _not_sync: Cell<()>,
}

/// The service's own error: not `Clone`, and with a source.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) id: u32,
    root: Root,
}

/// What is behind a [`Fault`].
#[derive(Debug)]
pub(crate) struct Root;

impl Answer {
    pub(crate) fn to(message: &Message) -> Self {
        Self {
            id: message.id,
            fields: message.fields.clone(),
            _not_sync: Cell::new(()),
        }
    }
}

impl Fault {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, root: Root }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {}", self.id)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("root")
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.root)
    }
}

impl std::error::Error for Root {}
impl mainstay::Plain for Fault {}

macro_rules! carry {
    ($($carrier:ty),*) => {$(
        impl Carry for $carrier {
            fn get(&self, field: &str) -> Option<&[u8]> {
                self.fields.get(field).map(String::as_bytes)
            }
            fn set(&mut self, field: &str, value: &str) {
                self.fields.insert(field.to_owned(), value.to_owned());
            }
        }
    )*};
}
carry!(Message, Answer);
impl mainstay::WholeReply for Answer {}

impl Message {
    pub(crate) fn new(log: &Log, id: u32) -> Self {
        Self {
            id,
            fields: BTreeMap::new(),
            alive: Alive::new(log),
        }
    }

    /// From now on it is the probe's.
    pub(crate) fn sent(&mut self) {
        self.alive.sent = true;
    }
}

/// Counts the copies of a request.
#[derive(Debug)]
struct Alive {
    log: Log,
    sent: bool,
}

impl Alive {
    fn new(log: &Log) -> Self {
        log.lock().seen.requests += 1;
        Self {
            log: log.clone(),
            sent: false,
        }
    }
}

impl Clone for Alive {
    fn clone(&self) -> Self {
        Self::new(&self.log)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let held = (!self.sent).then(|| self.log.held()).flatten();
        let mut state = self.log.lock();
        state.seen.requests -= 1;
        state.seen.held_at_unsent.extend(held);
    }
}

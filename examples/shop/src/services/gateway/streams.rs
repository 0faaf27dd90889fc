//! How many streams a user may have open. A rate limit does not bound them: they stay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most streams of one user: as many as a browser opens to one server, and some more.
const MOST: u32 = 8;

/// The open streams of each user that has one. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<String, u32>>>);

/// Counts as a stream of its user until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    streams: Streams,
    user: String,
}

impl Streams {
    /// One more, or a sentence why not.
    pub(super) fn open(&self, user: &str) -> Result<Open, String> {
        let mut streams = self.lock();
        let count = streams.entry(user.to_owned()).or_default();
        if *count >= MOST {
            return Err(format!(
                "{user} has {MOST} streams open, which is the limit: close one first"
            ));
        }
        *count += 1;
        Ok(Open {
            streams: self.clone(),
            user: user.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        if let Some(count) = streams.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_limit_of_its_own() {
        let streams = Streams::default();
        let mut open: Vec<_> = (0..MOST).map(|_| streams.open("u001").unwrap()).collect();
        let refused = streams.open("u001").unwrap_err();
        assert_eq!(
            refused,
            "u001 has 8 streams open, which is the limit: close one first"
        );
        let other = streams.open("u002").unwrap();
        open.pop();
        open.push(streams.open("u001").unwrap());
        streams.open("u001").unwrap_err();
        drop((open, other));
        assert!(streams.lock().is_empty());
    }
}

//! The last answers of an upstream, for when it gives no other.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use tokio::time::Instant;

/// A bounded memory. A new answer replaces the one that was used least lately.
pub(super) struct Memory<K, V>(Mutex<LruCache<K, (V, Instant)>>);

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self(Mutex::new(LruCache::new(most)))
    }

    pub(super) fn keep(&self, key: K, value: V) {
        self.with(|memory| memory.insert(key, (value, Instant::now())));
    }

    pub(super) fn forget(&self, key: &K) {
        self.with(|memory| memory.remove(key));
    }

    /// The answer, if it is not older than `most`.
    pub(super) fn get(&self, key: &K, most: Duration) -> Option<V> {
        self.with(|memory| {
            let (value, since) = memory.get(key)?;
            (since.elapsed() <= most).then(|| value.clone())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut LruCache<K, (V, Instant)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_known_until_it_is_too_old() {
        let memory = Memory::new(2);
        memory.keep("a", 1);
        tokio::time::advance(AGE).await;
        assert_eq!(memory.get(&"a", AGE), Some(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(memory.get(&"a", AGE), None);
        assert_eq!(memory.get(&"a", 2 * AGE), Some(1));
        memory.forget(&"a");
        assert_eq!(memory.get(&"a", 2 * AGE), None);
    }

    #[tokio::test]
    async fn it_keeps_what_was_used_last() {
        let memory = Memory::new(2);
        memory.keep("a", 1);
        memory.keep("b", 2);
        assert_eq!(memory.get(&"a", AGE), Some(1));
        memory.keep("c", 3);
        let left = ["a", "b", "c"].map(|key| memory.get(&key, AGE));
        assert_eq!(left, [Some(1), None, Some(3)]);
    }
}

//! A bounded registry of values by key, such as a circuit for each host.
//!
//! The keys may come from strangers. So the map is keyed by a hash that nobody can predict, its size
//! has an exact limit, and no operation costs more with more keys. A new key beyond the limit takes
//! the place of another one, by the CLOCK algorithm: a hand moves over the entries and removes the
//! first that has not been looked up since the hand's last visit. It visits a bounded number of
//! entries, first in the shard of the new key and then in the others.
//!
//! A value that is in use is never removed. All users hold references, and they get them under the
//! lock of the shard or from each other: if there is no reference under that lock, nobody uses the
//! value. So there are never two values of one key, of which one is stored.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of locks.
const SHARDS: usize = 16;
/// The number of entries that the hand visits in a shard. All entries of all shards would take as
/// long as there are keys.
const VISITS: usize = 16;

/// A reference to the value of a key.
pub(crate) trait Value: Clone {
    /// The counts of values, which outlive them.
    type Totals: Default;

    fn has_key(&self, key: &str) -> bool;

    /// Whether there are other references than that of the registry. If not, the last user's changes
    /// are visible.
    fn is_held(&mut self) -> bool;

    /// Whether the value is as good as a new one, except for its counts.
    fn is_plain(&self) -> bool;

    /// Adds its counts.
    fn add_to(&self, totals: &mut Self::Totals);
}

pub(crate) struct Keys<V: Value> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    limit: usize,
    /// The number of entries, and of places reserved for new ones.
    len: AtomicUsize,
    evicted: AtomicU64,
    temporary: AtomicU64,
}

struct Shard<V: Value> {
    /// The place of each entry by the hash of its key.
    places: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry<V>>,
    hand: usize,
    /// The counts of the values that were removed.
    gone: V::Totals,
}

struct Entry<V> {
    hash: u64,
    value: V,
    /// Looked up since the hand's last visit.
    is_used: bool,
}

/// A value that was removed. To be dropped outside of all locks.
#[derive(Debug)]
pub(crate) struct Removed<V> {
    pub(crate) value: V,
    pub(crate) was_plain: bool,
}

/// The value of a key.
#[derive(Debug)]
pub(crate) struct Got<V> {
    pub(crate) value: V,
    /// The value that left for it.
    pub(crate) removed: Option<Removed<V>>,
}

enum Lookup {
    Found(usize),
    /// Another key has the same hash.
    Collides,
    Missing,
}

impl<V: Value> Keys<V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            hasher: RandomState::new(),
            limit,
            len: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            temporary: AtomicU64::new(0),
        }
    }

    /// The value of a key. `make` makes a missing one, or with `true` a temporary one, which is not
    /// stored because no other value can leave.
    pub(crate) fn get(&self, key: &str, make: impl Fn(bool) -> V) -> Got<V> {
        let hash = self.hasher.hash_one(key);
        let own = self.shard_of(hash);
        let mut shard = self.lock(own);
        match shard.lookup(hash, key) {
            Lookup::Found(place) => return Got::found(shard.use_entry(place)),
            Lookup::Collides => return self.temporary(make),
            Lookup::Missing => {}
        }
        let mut removed = None;
        if !self.reserve() {
            removed = shard.remove_one(true);
            if removed.is_none() {
                drop(shard);
                removed = self.remove_elsewhere(own);
                if removed.is_none() {
                    return self.temporary(make);
                }
                shard = self.lock(own);
                // Another call may have stored it meanwhile.
                let found = match shard.lookup(hash, key) {
                    Lookup::Found(place) => Some(shard.use_entry(place)),
                    Lookup::Collides => Some(make(true)),
                    Lookup::Missing => None,
                };
                if let Some(value) = found {
                    drop(shard);
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                    return Got { value, removed };
                }
            }
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        // Made under the lock, so that a change of the settings either precedes it or finds it.
        let value = make(false);
        shard.insert(hash, value.clone());
        drop(shard);
        Got { value, removed }
    }

    /// The value of a key, if there is one.
    pub(crate) fn find(&self, key: &str) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.lock(self.shard_of(hash));
        match shard.lookup(hash, key) {
            Lookup::Found(place) => Some(shard.use_entry(place)),
            Lookup::Collides | Lookup::Missing => None,
        }
    }

    /// Visits all values, and with each shard the counts of those that it has removed. `visit` runs
    /// under the lock.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&V::Totals, &mut dyn Iterator<Item = &V>)) {
        for shard in 0..self.shards.len() {
            let shard = self.lock(shard);
            visit(
                &shard.gone,
                &mut shard.entries.iter().map(|entry| &entry.value),
            );
        }
    }

    /// Clones of the values in one shard; `None` after the last one. Meanwhile no value of another
    /// shard is held.
    pub(crate) fn shard(&self, shard: usize) -> Option<Vec<V>>
    where
        V: Clone,
    {
        let is_one = shard < self.shards.len();
        is_one.then(|| {
            self.lock(shard)
                .entries
                .iter()
                .map(|entry| entry.value.clone())
                .collect()
        })
    }

    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many values have left for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How many temporary values were made.
    pub(crate) fn temporaries(&self) -> u64 {
        self.temporary.load(Ordering::Relaxed)
    }

    #[cold]
    fn temporary(&self, make: impl Fn(bool) -> V) -> Got<V> {
        self.temporary.fetch_add(1, Ordering::Relaxed);
        Got::found(make(true))
    }

    /// Reserves a place for a new entry.
    fn reserve(&self) -> bool {
        let more = |len: usize| (len < self.limit).then_some(len + 1);
        let reserved = self
            .len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        reserved.is_ok()
    }

    /// Removes a plain value from another shard, or one that is not plain from any.
    #[cold]
    fn remove_elsewhere(&self, own: usize) -> Option<Removed<V>> {
        let others = || (1..SHARDS).map(|next| (own + next) % SHARDS);
        let plain = others().find_map(|shard| self.lock(shard).remove_one(true));
        plain.or_else(|| {
            let mut all = std::iter::once(own).chain(others());
            all.find_map(|shard| self.lock(shard).remove_one(false))
        })
    }

    fn shard_of(&self, hash: u64) -> usize {
        // The map uses the low bits and the highest seven.
        (hash >> 40) as usize % self.shards.len()
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard<V>> {
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Got<V> {
    const fn found(value: V) -> Self {
        Self {
            value,
            removed: None,
        }
    }
}

impl<V: Value> Shard<V> {
    fn new() -> Self {
        Self {
            places: HashMap::default(),
            entries: Vec::new(),
            hand: 0,
            gone: V::Totals::default(),
        }
    }

    fn lookup(&self, hash: u64, key: &str) -> Lookup {
        let Some(place) = self.places.get(&hash).map(|place| *place as usize) else {
            return Lookup::Missing;
        };
        match self.entries.get(place) {
            Some(entry) if entry.value.has_key(key) => Lookup::Found(place),
            _ => Lookup::Collides,
        }
    }

    fn use_entry(&mut self, place: usize) -> V {
        let entry = &mut self.entries[place];
        entry.is_used = true;
        entry.value.clone()
    }

    fn insert(&mut self, hash: u64, value: V) {
        // The limit of keys is far below 2^32.
        self.places.insert(hash, self.entries.len() as u32);
        // Not used yet: a key that never comes back leaves first.
        self.entries.push(Entry {
            hash,
            value,
            is_used: false,
        });
    }

    /// Removes a value that nobody holds, if the hand finds one: one that is plain, or else any.
    fn remove_one(&mut self, plain: bool) -> Option<Removed<V>> {
        let mut second = None;
        for _ in 0..self.entries.len().min(VISITS) {
            let place = self.hand % self.entries.len();
            self.hand = place + 1;
            let entry = &mut self.entries[place];
            if entry.value.is_held() || plain && !entry.value.is_plain() {
                continue;
            }
            if std::mem::take(&mut entry.is_used) {
                second.get_or_insert(place);
                continue;
            }
            return Some(self.remove(place, plain));
        }
        second.map(|place| self.remove(place, plain))
    }

    fn remove(&mut self, place: usize, was_plain: bool) -> Removed<V> {
        let Entry { hash, value, .. } = self.entries.swap_remove(place);
        self.places.remove(&hash);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.hash, place as u32);
        }
        // The entry that was moved here is visited next.
        self.hand = place;
        // Nobody holds the value, so these are its last counts.
        value.add_to(&mut self.gone);
        Removed { value, was_plain }
    }
}

/// Takes a hash for its own hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        // Never called for a `u64`.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;

//! The registry against a naive model.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Counted(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: String,
    is_plain: AtomicBool,
    calls: AtomicU64,
}

impl Value for Counted {
    type Totals = u64;

    fn has_key(&self, key: &str) -> bool {
        self.0.key == key
    }

    fn is_held(&mut self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn is_plain(&self) -> bool {
        self.0.is_plain.load(Ordering::Relaxed)
    }

    fn add_to(&self, totals: &mut u64) {
        *totals += self.0.calls.load(Ordering::Relaxed);
    }
}

fn get(keys: &Keys<Counted>, key: &str) -> (Got<Counted>, bool) {
    let is_temporary = AtomicBool::new(false);
    let got = keys.get(key, |temporary| {
        is_temporary.store(temporary, Ordering::Relaxed);
        Counted(Arc::new(Inner {
            key: key.to_owned(),
            is_plain: AtomicBool::new(true),
            calls: AtomicU64::new(0),
        }))
    });
    got.value.0.calls.fetch_add(1, Ordering::Relaxed);
    (got, is_temporary.into_inner())
}

/// The calls of all values that are or were stored.
fn calls(keys: &Keys<Counted>) -> u64 {
    let mut sum = 0;
    keys.visit(|gone, values| {
        sum += gone;
        values.for_each(|value| value.add_to(&mut sum));
    });
    sum
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Calls with a key.
    Call(u8),
    /// The same, and keeps the reference.
    Hold(u8),
    /// Drops the oldest reference.
    Release,
    /// The value of a key becomes plain or not.
    Plain(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..12).prop_map(Step::Call),
        2 => (0_u8..12).prop_map(Step::Hold),
        2 => Just(Step::Release),
        1 => (0_u8..12, any::<bool>()).prop_map(|(key, plain)| Step::Plain(key, plain)),
    ];
    proptest::collection::vec(step, 1..200)
}

/// Stored keys with whether they are plain, and held keys in order.
#[derive(Default)]
struct Model {
    stored: Vec<(String, bool)>,
    held: Vec<Counted>,
}

impl Model {
    fn is_held(&self, key: &str) -> bool {
        self.held.iter().any(|held| held.0.key == key)
    }

    /// Checks a call, and follows it.
    fn called(&mut self, key: &str, got: &Got<Counted>, is_temporary: bool, limit: usize) {
        let was_stored = self.stored.iter().any(|(of, _)| of == key);
        let free = |plain: bool| {
            let mut free = self.stored.iter().filter(|(of, _)| !self.is_held(of));
            free.any(|(_, is_plain)| *is_plain || !plain)
        };
        let must_leave = !was_stored && self.stored.len() == limit;
        assert_eq!(
            is_temporary,
            must_leave && !free(false),
            "only if nobody can leave"
        );
        assert_eq!(got.removed.is_some(), must_leave && free(false));
        if let Some(removed) = &got.removed {
            let left = &removed.value.0.key;
            assert!(!self.is_held(left), "{left} is in use");
            assert_eq!(removed.was_plain, free(true), "a plain one leaves first");
            self.stored.retain(|(of, _)| of != left);
        }
        if !was_stored && !is_temporary {
            self.stored.push((key.to_owned(), true));
        }
    }
}

proptest! {
    #[test]
    fn it_behaves_as_a_naive_registry(limit in 1_usize..8, steps in steps()) {
        let keys = Keys::new(limit);
        let (mut model, mut stored_calls) = (Model::default(), 0);
        for step in steps {
            match step {
                Step::Call(key) | Step::Hold(key) => {
                    let key = format!("key-{key}");
                    let (got, is_temporary) = get(&keys, &key);
                    model.called(&key, &got, is_temporary, limit);
                    stored_calls += u64::from(!is_temporary);
                    if matches!(step, Step::Hold(_)) && !is_temporary {
                        // Never two values of one key.
                        let held = model.held.iter().find(|held| held.0.key == key);
                        prop_assert!(held.is_none_or(|held| Arc::ptr_eq(&held.0, &got.value.0)));
                        model.held.push(got.value);
                    }
                }
                Step::Release => {
                    if !model.held.is_empty() {
                        model.held.remove(0);
                    }
                }
                Step::Plain(key, plain) => {
                    let key = format!("key-{key}");
                    let found = keys.find(&key);
                    let stored = model.stored.iter_mut().find(|(of, _)| *of == key);
                    prop_assert_eq!(found.is_some(), stored.is_some());
                    if let (Some(found), Some(stored)) = (found, stored) {
                        found.0.is_plain.store(plain, Ordering::Relaxed);
                        stored.1 = plain;
                    }
                }
            }
            prop_assert_eq!(keys.len(), model.stored.len());
            prop_assert!(keys.len() <= limit);
            prop_assert_eq!(calls(&keys), stored_calls);
        }
    }
}

#[test]
fn a_flood_of_keys_leaves_those_in_use_and_stays_within_the_limit() {
    let keys = Keys::new(1_000);
    let held: Vec<_> = (0..100)
        .map(|key| get(&keys, &format!("held-{key}")).0.value)
        .collect();
    for key in 0..100_000 {
        assert!(!get(&keys, &key.to_string()).1);
    }
    assert_eq!(keys.len(), 1_000);
    assert_eq!(keys.evicted(), 100_100 - 1_000);
    assert_eq!(calls(&keys), 100_100);
    for held in &held {
        let found = keys.find(&held.0.key).unwrap();
        assert!(Arc::ptr_eq(&held.0, &found.0));
    }
}

#[test]
fn a_key_that_comes_back_outlives_those_that_do_not() {
    let keys = Keys::new(160);
    let first = Arc::downgrade(&get(&keys, "hot").0.value.0);
    for key in 0..100_000 {
        get(&keys, &key.to_string());
        if key % 10 == 0 {
            get(&keys, "hot");
        }
    }
    assert!(first.upgrade().is_some(), "it was never removed");
}

#[test]
fn many_threads_have_one_value_for_each_key() {
    let keys = Keys::new(8);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let keys = &keys;
            scope.spawn(move || {
                for call in 0..20_000_u32 {
                    let key = format!("key-{}", (call * (thread + 1)) % 24);
                    let (one, is_temporary) = get(keys, &key);
                    if !is_temporary && let Some(same) = keys.find(&key) {
                        assert!(Arc::ptr_eq(&one.value.0, &same.0));
                    }
                    assert!(keys.len() <= 8);
                }
            });
        }
    });
    assert_eq!(calls(&keys) + keys.temporaries(), 80_000);
}

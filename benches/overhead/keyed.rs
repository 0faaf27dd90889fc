//! A circuit breaker for each key, hot and cold.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mainstay::keyed::Key;
use mainstay::{CircuitBreakerLayer, Window};
use tower::Layer;

use crate::cases::{Case, WINDOW};
use crate::services::{Expect, Ready, calls};

/// The default limit of keys, which the last pair exceeds by far.
const CASES: [(&str, &str, usize); 3] = [
    ("keyed_hot_1", "", 1),
    ("keyed_hot_1000", "keyed_cold_1000", 1_000),
    // Each call of the cold one drops a circuit and makes one.
    ("keyed_hot_1000000", "bare_keyed_cold_1000000", 1_000_000),
];

/// The first key, or the next one.
struct Cycle {
    keys: Vec<String>,
    next: AtomicUsize,
    hot: Arc<AtomicBool>,
}

impl Key<u32> for Cycle {
    fn key<'a>(&'a self, _: &'a u32) -> Option<Cow<'a, str>> {
        let next = if self.hot.load(Ordering::Relaxed) {
            0
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % self.keys.len()
        };
        self.keys.get(next).map(|key| key.as_str().into())
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (hot, cold, keys) in CASES {
        cases.push(case(hot, keys, true).next_to("circuit_breaker"));
        if !cold.is_empty() {
            cases.push(case(cold, keys, false));
        }
    }
    cases
}

fn case(name: &'static str, keys: usize, is_hot: bool) -> Case {
    let hot = Arc::new(AtomicBool::new(false));
    let cycle = Cycle {
        keys: (0..keys)
            .map(|key| format!("host-{key}.example.com"))
            .collect(),
        next: AtomicUsize::new(0),
        hot: Arc::clone(&hot),
    };
    let layer = CircuitBreakerLayer::builder()
        .window(Window::count(WINDOW))
        .keyed_by(cycle)
        .build()
        .expect("settings are valid");
    let mut work = calls(layer.layer(Ready), 1, Expect::Answers);
    // Every key was called.
    work(keys as u64);
    hot.store(is_hot, Ordering::Relaxed);
    Case::new(name, work)
}

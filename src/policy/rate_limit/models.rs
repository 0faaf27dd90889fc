use std::sync::Arc;

use loom::thread;

use super::*;

crate::models::models![
    each_permit_is_acquired_once,
    a_clock_that_went_back_frees_no_permit,
];

const INTERVAL: u64 = 1_000_000;
const NOW: u64 = 1 << 40;

fn limit(burst: u32) -> Arc<RateLimit> {
    Arc::new(RateLimit::new(&Rate {
        permits: 1,
        per: Duration::from_nanos(INTERVAL),
        burst: Some(burst),
    }))
}

fn each_permit_is_acquired_once() {
    let limit = limit(2);
    let acquire = || {
        let limit = Arc::clone(&limit);
        thread::spawn(move || u32::from(limit.try_acquire(NOW).is_ok()))
    };
    let others = [acquire(), acquire()];
    let mut acquired = u32::from(limit.try_acquire(NOW).is_ok());
    for other in others {
        acquired += other.join().unwrap();
    }
    assert_eq!((acquired, limit.available(NOW).0), (2, 0));
}

/// Two threads see that the clock went back. Then it goes on, and one permit becomes available.
fn a_clock_that_went_back_frees_no_permit() {
    let limit = limit(2);
    limit.try_acquire(2 * NOW).unwrap();
    // Not loom's: nobody reads an old time.
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(NOW));
    let acquire = || {
        let (limit, clock) = (Arc::clone(&limit), Arc::clone(&clock));
        thread::spawn(move || {
            limit.catch_up(limit.tat(), clock.load(Ordering::Relaxed));
            clock.store(NOW + INTERVAL, Ordering::Relaxed);
            u32::from(limit.try_acquire(NOW + INTERVAL).is_ok())
        })
    };
    let others = [acquire(), acquire()];
    let acquired: u32 = others.map(|other| other.join().unwrap()).iter().sum();
    assert_eq!((acquired, limit.available(NOW + INTERVAL).0), (1, 0));
}

use std::sync::atomic::AtomicU32;

use super::*;
use crate::layers::bulkhead::settings::QueueSettings;

fn permits(limit: u32, queue: u32) -> Permits {
    let settings = Settings {
        limit: Some(limit),
        queue: Some(QueueSettings::new(queue, Duration::from_secs(1))),
        ..Settings::default()
    };
    let emitter = Emitter::of_default(&super::super::layer::KIND);
    Permits::new(settings, true, emitter)
}

/// Permits whose count of admissions wraps soon.
fn used(limit: u32, queue: u32) -> Permits {
    let permits = permits(limit, queue);
    permits.word.store(USED * ADMISSION, Ordering::Relaxed);
    permits
}

const USED: u64 = MAX_ADMISSIONS - 2_000;

#[test]
fn a_released_permit_goes_to_the_first_waiter_and_not_to_a_new_call() {
    let permits = permits(1, 2);
    assert!(permits.try_acquire());
    let waker = Waker::noop();
    let Some(Joined::Waiter(first)) = permits.acquire_or_queue(waker.clone()) else {
        panic!()
    };
    let Some(Joined::Waiter(second)) = permits.acquire_or_queue(waker.clone()) else {
        panic!()
    };
    assert_eq!(permits.acquire_or_queue(waker.clone()), None);
    permits.release_permit();
    assert!(!permits.try_acquire());
    let cx = &mut Context::from_waker(waker);
    assert!(permits.poll_waiter(first, cx).is_ready());
    assert!(permits.poll_waiter(second, cx).is_pending());
    // The waiter with the permit leaves without using it.
    permits.leave_queue(first);
    assert!(permits.poll_waiter(second, cx).is_ready());
    assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    permits.release_permit();
    assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
}

#[test]
fn threads_never_exceed_the_limit_and_leave_nothing_behind() {
    let permits = permits(3, 0);
    let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if permits.try_acquire() {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        now.fetch_sub(1, Ordering::SeqCst);
                        permits.release_permit();
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(permits.in_flight(), 0);
}

/// The clone and the drop of the waker read the permits. Under the lock they would hang.
#[test]
fn no_waker_is_cloned_or_dropped_under_the_lock() {
    use std::sync::Arc;
    use std::task::Wake;

    struct Reads(Arc<Permits>);
    impl Wake for Reads {
        fn wake(self: Arc<Self>) {
            assert!(self.0.waiting() <= 1);
        }
    }
    impl Drop for Reads {
        fn drop(&mut self) {
            assert!(self.0.waiting() <= 1);
        }
    }
    let permits = Arc::new(permits(1, 1));
    assert!(permits.try_acquire());
    let waker = || Waker::from(Arc::new(Reads(permits.clone())));
    let Some(Joined::Waiter(number)) = permits.acquire_or_queue(waker()) else {
        panic!()
    };
    // The first waker is dropped, and so is the one that finds the queue full.
    let second = waker();
    let cx = &mut Context::from_waker(&second);
    assert!(permits.poll_waiter(number, cx).is_pending());
    assert_eq!(permits.acquire_or_queue(waker()), None);
    permits.release_permit();
    assert!(permits.poll_waiter(number, cx).is_ready());
}

#[test]
fn every_admission_is_counted_wherever_the_count_wraps() {
    let permits = used(2, 1);
    assert!(permits.try_acquire());
    // Two of three calls acquire a permit at once, one waits for it.
    let rounds = 2_000_u64;
    for _ in 0..rounds {
        assert!(permits.try_acquire());
        let waker = Waker::noop();
        let Some(Joined::Waiter(number)) = permits.acquire_or_queue(waker.clone()) else {
            panic!()
        };
        permits.release_permit();
        assert!(
            permits
                .poll_waiter(number, &mut Context::from_waker(waker))
                .is_ready()
        );
        permits.release_permit();
        assert_eq!(
            permits.acquire_or_queue(waker.clone()),
            Some(Joined::Permit)
        );
        permits.release_permit();
        assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    }
    assert!(permits.lock().wraps > 0);
    assert_eq!(permits.books().outcomes.success, USED + rounds * 3);
    // These calls never start.
    assert_eq!(
        permits.acquire_or_queue(Waker::noop().clone()),
        Some(Joined::Permit)
    );
    permits.release_unused();
    assert!(permits.try_acquire());
    let Some(Joined::Waiter(number)) = permits.acquire_or_queue(Waker::noop().clone()) else {
        panic!()
    };
    permits.release_permit();
    permits.leave_queue(number);
    assert_eq!(permits.books().outcomes.total(), USED + rounds * 3 + 1);
    permits.release_permit();
    assert_eq!(permits.books().outcomes.total(), USED + rounds * 3 + 2);
    assert_eq!(permits.in_flight(), 0);
}

#[test]
fn threads_lose_no_admission_where_the_count_wraps() {
    let permits = used(3, 0);
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if permits.try_acquire() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        permits.release_permit();
                    }
                }
            });
        }
    });
    let admitted = u64::from(admitted.into_inner());
    assert!(admitted > MAX_ADMISSIONS - USED, "{admitted}");
    assert_eq!(permits.books().outcomes.success, USED + admitted);
}

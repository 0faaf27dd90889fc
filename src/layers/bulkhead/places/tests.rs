use std::sync::atomic::AtomicU32;

use super::*;
use crate::vocabulary::name::InstanceName;

fn places(limit: u32, queue: u32) -> Places {
    Places::new(Settings {
        limit,
        queue,
        is_on: true,
        instance: InstanceName::default_of(&super::super::layer::KIND),
        observer: None,
    })
}

/// Places that have admitted so many calls that the count soon begins again.
fn used(limit: u32, queue: u32) -> Places {
    let places = places(limit, queue);
    places.word.store(USED * ADMISSION, Ordering::Relaxed);
    places
}

const USED: u64 = ADMISSIONS - 2_000;

#[test]
fn a_freed_place_goes_to_the_first_in_the_queue_and_not_to_a_newcomer() {
    let places = places(1, 2);
    assert!(places.try_take());
    let waker = Waker::noop();
    let Some(Joined::Waiter(first)) = places.take_or_wait(waker.clone()) else {
        panic!()
    };
    let Some(Joined::Waiter(second)) = places.take_or_wait(waker.clone()) else {
        panic!()
    };
    assert_eq!(places.take_or_wait(waker.clone()), None);
    places.give_back();
    assert!(!places.try_take());
    let cx = &mut Context::from_waker(waker);
    assert!(places.poll_handed(first, cx).is_ready());
    assert!(places.poll_handed(second, cx).is_pending());
    // The one that was handed a place goes away without using it.
    places.leave_queue(first);
    assert!(places.poll_handed(second, cx).is_ready());
    assert_eq!((places.in_flight(), places.waiting()), (1, 0));
    places.give_back();
    assert_eq!((places.in_flight(), places.waiting()), (0, 0));
}

#[test]
fn threads_never_exceed_the_limit_and_leave_nothing_behind() {
    let places = places(3, 0);
    let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if places.try_take() {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        now.fetch_sub(1, Ordering::SeqCst);
                        places.give_back();
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(places.in_flight(), 0);
}

/// A waker whose clone and drop look at the places: under a lock they would hang.
#[test]
fn no_waker_is_cloned_or_dropped_under_the_lock() {
    use std::sync::Arc;
    use std::task::Wake;

    struct Looks(Arc<Places>);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            assert!(self.0.waiting() <= 1);
        }
    }
    impl Drop for Looks {
        fn drop(&mut self) {
            assert!(self.0.waiting() <= 1);
        }
    }
    let places = Arc::new(places(1, 1));
    assert!(places.try_take());
    let waker = || Waker::from(Arc::new(Looks(places.clone())));
    let Some(Joined::Waiter(number)) = places.take_or_wait(waker()) else {
        panic!()
    };
    // The first one is dropped, and so is one that finds the queue full.
    let second = waker();
    let cx = &mut Context::from_waker(&second);
    assert!(places.poll_handed(number, cx).is_pending());
    assert_eq!(places.take_or_wait(waker()), None);
    places.give_back();
    assert!(places.poll_handed(number, cx).is_ready());
}

#[test]
fn every_admission_is_counted_wherever_the_count_begins_again() {
    let places = used(2, 1);
    assert!(places.try_take());
    // Two of three are admitted at once, one is handed its place.
    let rounds = 2_000_u64;
    for _ in 0..rounds {
        assert!(places.try_take());
        let waker = Waker::noop();
        let Some(Joined::Waiter(number)) = places.take_or_wait(waker.clone()) else {
            panic!()
        };
        places.give_back();
        assert!(
            places
                .poll_handed(number, &mut Context::from_waker(waker))
                .is_ready()
        );
        places.give_back();
        assert_eq!(places.take_or_wait(waker.clone()), Some(Joined::Permit));
        places.give_back();
        assert_eq!((places.in_flight(), places.waiting()), (1, 0));
    }
    assert!(places.lock().begun_again > 0);
    assert_eq!(places.outcomes().success, USED + rounds * 3);
    // Nothing came of these.
    assert_eq!(
        places.take_or_wait(Waker::noop().clone()),
        Some(Joined::Permit)
    );
    places.give_back_unused();
    assert!(places.try_take());
    let Some(Joined::Waiter(number)) = places.take_or_wait(Waker::noop().clone()) else {
        panic!()
    };
    places.give_back();
    places.leave_queue(number);
    assert_eq!(places.outcomes().total(), USED + rounds * 3 + 1);
    places.give_back();
    assert_eq!(places.outcomes().total(), USED + rounds * 3 + 2);
    assert_eq!(places.in_flight(), 0);
}

#[test]
fn threads_lose_no_admission_where_the_count_begins_again() {
    let places = used(3, 0);
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if places.try_take() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        places.give_back();
                    }
                }
            });
        }
    });
    let admitted = u64::from(admitted.into_inner());
    assert!(admitted > ADMISSIONS - USED, "{admitted}");
    assert_eq!(places.outcomes().success, USED + admitted);
}

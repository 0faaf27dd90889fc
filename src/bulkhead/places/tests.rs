use std::sync::atomic::AtomicU32;

use super::*;
use crate::name::unnamed::BULKHEAD;

fn places(limit: u32, queue: u32) -> Places {
    let places = Places::vacant();
    places.move_in(settings(limit, queue));
    places
}

fn settings(limit: u32, queue: u32) -> Settings {
    Settings {
        limit,
        queue,
        is_on: true,
        origin: &BULKHEAD,
        observer: None,
    }
}

#[test]
fn a_freed_place_goes_to_the_first_in_the_queue_and_not_to_a_newcomer() {
    let places = places(1, 2);
    let place = places.try_take().unwrap();
    let waker = Waker::noop();
    let Taken::Waiting(first) = places.take_or_wait(waker) else {
        panic!()
    };
    let Taken::Waiting(second) = places.take_or_wait(waker) else {
        panic!()
    };
    assert_eq!(places.take_or_wait(waker), Taken::Full);
    places.give_back(place);
    assert!(places.try_take().is_none());
    let cx = &mut Context::from_waker(waker);
    assert!(places.poll_handed(first, cx).is_ready());
    assert!(places.poll_handed(second, cx).is_pending());
    // The one that was handed a place goes away without using it.
    places.leave(first);
    let Poll::Ready(place) = places.poll_handed(second, cx) else {
        panic!()
    };
    assert_eq!((places.in_flight(), places.waiting()), (1, 0));
    places.give_back(place);
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
                    if let Some(place) = places.try_take() {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        now.fetch_sub(1, Ordering::SeqCst);
                        places.give_back(place);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(places.in_flight(), 0);
}

#[test]
fn a_place_of_an_earlier_tenant_is_given_back_to_nobody() {
    let places = places(2, 1);
    let old = places.try_take().unwrap();
    assert!(places.move_out());
    places.move_in(settings(1, 1));
    let new = places.try_take().unwrap();
    assert_ne!(old, new);
    places.give_back(old);
    assert_eq!(places.in_flight(), 1);
    // Nor is it handed to someone who waits.
    let Taken::Waiting(number) = places.take_or_wait(Waker::noop()) else {
        panic!()
    };
    places.give_back(old);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(places.poll_handed(number, cx).is_pending());
    places.give_back(new);
    assert!(places.poll_handed(number, cx).is_ready());
}

#[test]
fn the_last_generation_is_never_followed_by_the_first() {
    let places = places(1, 0);
    for _ in 0..LAST_GENERATION - 1 {
        assert!(places.move_out());
    }
    assert!(!places.move_out());
}

#[test]
fn every_admission_is_counted_wherever_the_count_begins_again() {
    let places = places(2, 1);
    let held = places.try_take().unwrap();
    // Two of three are admitted at once, one is handed its place.
    let rounds = u32::try_from(ADMISSIONS / 2).unwrap() + 1_000;
    for _ in 0..rounds {
        let place = places.try_take().unwrap();
        let waker = Waker::noop();
        let Taken::Waiting(number) = places.take_or_wait(waker) else {
            panic!()
        };
        places.give_back(place);
        let Poll::Ready(place) = places.poll_handed(number, &mut Context::from_waker(waker)) else {
            panic!()
        };
        places.give_back(place);
        let Taken::Place(place) = places.take_or_wait(waker) else {
            panic!()
        };
        places.give_back(place);
        assert_eq!((places.in_flight(), places.waiting()), (1, 0));
    }
    assert!(places.lock().begun_again > 0);
    assert_eq!(places.outcomes().success, u64::from(rounds) * 3);
    // Nothing came of these.
    let Taken::Place(place) = places.take_or_wait(Waker::noop()) else {
        panic!()
    };
    places.give_back_unused(place);
    let place = places.try_take().unwrap();
    let Taken::Waiting(number) = places.take_or_wait(Waker::noop()) else {
        panic!()
    };
    places.give_back(place);
    places.leave(number);
    assert_eq!(places.outcomes().total(), u64::from(rounds) * 3 + 1);
    places.give_back(held);
    assert_eq!(places.outcomes().total(), u64::from(rounds) * 3 + 2);
    assert_eq!(generation(places.word.load(Ordering::Relaxed)), held);
}

#[test]
fn threads_lose_no_admission_where_the_count_begins_again() {
    let places = places(3, 0);
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300_000 {
                    if let Some(place) = places.try_take() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        places.give_back(place);
                    }
                }
            });
        }
    });
    let admitted = u64::from(admitted.into_inner());
    assert!(admitted > ADMISSIONS, "{admitted}");
    assert_eq!(places.outcomes().success, admitted);
}

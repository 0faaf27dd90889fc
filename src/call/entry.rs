//! The time at which a call entered a stack: read once, and handed on from a layer to the layer directly inside.
//!
//! The nested `call`s of a stack follow each other within a fraction of a microsecond, and a reading of the clock costs more than most
//! layers do. So the outermost layer that needs the time reads it, and hands it on.
//!
//! It is handed to one service, which takes it at once. That service is known by its address, and by its type, because a wrapper begins at
//! the address of what it wraps. So another stack that is driven inside of `call` never sees the reading, nor does a later call.

use std::any::type_name;
use std::cell::Cell;

use crate::runtime::Moment;

thread_local! {
    static HANDED: Cell<Handed> = const { Cell::new(Handed::NOTHING) };
}

#[derive(Clone, Copy)]
struct Handed {
    address: usize,
    kind: usize,
    now: Moment,
}

impl Handed {
    const NOTHING: Self = Self {
        address: 0,
        kind: 0,
        now: Moment::NEVER,
    };
}

/// The entry time of a call, which is read when it is first asked for.
#[derive(Debug)]
pub struct Entry(Moment);

impl Entry {
    /// Not read yet.
    pub(crate) const fn new() -> Self {
        Self(Moment::NEVER)
    }

    /// That of a call to this service: what the layer outside has handed on, or not read yet.
    #[inline]
    pub(crate) fn of<S>(service: &S) -> Self {
        let handed = HANDED.get();
        if handed.address == address(service) && handed.kind == kind::<S>() {
            HANDED.set(Handed::NOTHING);
            Self(handed.now)
        } else {
            Self::new()
        }
    }

    #[inline]
    pub(crate) fn now(&mut self) -> Moment {
        if self.0 == Moment::NEVER {
            self.0 = Moment::now();
        }
        self.0
    }

    /// Hands it on to this service, if it was read, until what is returned is dropped.
    #[inline]
    pub(crate) fn hand_on<S>(&self, service: &S) -> HandedOn {
        if self.0 != Moment::NEVER {
            HANDED.set(Handed {
                address: address(service),
                kind: kind::<S>(),
                now: self.0,
            });
        }
        HandedOn
    }
}

/// Takes back what nobody has taken.
pub(crate) struct HandedOn;

impl Drop for HandedOn {
    #[inline]
    fn drop(&mut self) {
        HANDED.set(Handed::NOTHING);
    }
}

fn address<S>(service: &S) -> usize {
    std::ptr::from_ref(service).addr()
}

/// Distinguishes a type from those that it wraps or that wrap it: their names differ in length. A constant, without the bound
/// `'static` of a `TypeId`.
#[inline]
fn kind<S>() -> usize {
    size_of::<S>() << 16 ^ type_name::<S>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_handed_to_one_service_and_taken_once() {
        let (one, other) = (1_u64, 2_u64);
        let mut entry = Entry::new();
        let now = entry.now();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let later = Moment::now();
        let handed = entry.hand_on(&one);
        assert_eq!(Entry::of(&other).now(), later);
        assert_eq!(Entry::of(&one).now(), now);
        assert_eq!(Entry::of(&one).now(), later);
        drop(handed);
        drop(entry.hand_on(&one));
        assert_eq!(Entry::of(&one).now(), later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrapper_at_the_same_address_is_not_what_it_wraps() {
        struct Wrapper(u64);
        let wrapper = Wrapper(1);
        let mut entry = Entry::new();
        let now = entry.now();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let handed = entry.hand_on(&wrapper);
        assert_eq!(Entry::of(&wrapper.0).now(), Moment::now());
        assert_eq!(Entry::of(&wrapper).now(), now);
        drop(handed);
    }

    #[test]
    fn what_was_not_read_is_not_handed_on() {
        let service = 1_u64;
        let handed = Entry::new().hand_on(&service);
        assert_eq!(Entry::of(&service).0, Moment::NEVER);
        drop(handed);
    }
}

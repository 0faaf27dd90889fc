//! Owned state: layers, services and calls share one instance.
//!
//! If every call cloned the same [`Arc`], all threads would write to one reference count, which
//! costs more than any policy here. So a service that is called repeatedly gets a reference count
//! of its own, a *lane*, which its calls use. Threads that each own a clone of a service then share
//! only the state that the policy needs.
//!
//! The second call of a clone creates the lane, the only allocation here. So a service cloned for a
//! single call, as in servers, creates none. A service that changes between the instances of many
//! keys creates one only after several calls in a row to the same instance. The state is freed when the last layer, service,
//! handle and call are dropped.

use std::ops::Deref;
use std::sync::Arc;

/// The reference that a layer or service holds.
#[allow(missing_debug_implementations, reason = "users cannot name it")]
pub struct Shared<T> {
    lane: Arc<Lane<T>>,
    calls: Calls,
    /// The number of calls that share the lane of others before this one gets its own.
    shares: u8,
}

/// The calls of a service that is cloned share the lane of the layer up to the first.
const SHARES: u8 = 1;
/// The same for the instance of a key.
const SHARES_OF_KEY: u8 = 32;

/// A reference count of its own. With the counts of the [`Arc`] and the allocator's overhead it
/// takes 128 bytes, so that two lanes share neither a cache line nor a pair that processors fetch
/// together.
pub(crate) struct Lane<T>(Arc<T>, #[expect(dead_code, reason = "padding")] [u64; 12]);

impl<T> Lane<T> {
    fn of(state: Arc<T>) -> Arc<Self> {
        Arc::new(Self(state, [0; 12]))
    }
}

impl<T> Deref for Lane<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    Shared(u8),
    OwnLane,
}

impl<T> Shared<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            lane: Lane::of(Arc::new(state)),
            calls: Calls::Shared(0),
            shares: SHARES,
        }
    }

    /// The same for the instance of a key.
    pub(crate) fn of_key(state: T) -> Self {
        Self {
            shares: SHARES_OF_KEY,
            ..Self::new(state)
        }
    }

    /// A reference to a state that others hold, too.
    pub(crate) fn of(state: Arc<T>) -> Self {
        Self {
            lane: Lane::of(state),
            calls: Calls::Shared(0),
            shares: SHARES,
        }
    }

    /// The state. No method, which would hide one of the state's.
    pub(crate) fn arc(shared: &Self) -> &Arc<T> {
        &shared.lane.0
    }

    /// Whether anybody else holds a reference: a call, a service, a handle or a registry. Another
    /// thread can drop its reference meanwhile, but without one it cannot get one. If nobody does, the
    /// last one's changes are visible.
    pub(crate) fn is_shared(&mut self) -> bool {
        // Not by the counts: a reference can become another kind between two of them.
        Arc::get_mut(&mut self.lane).is_none_or(|lane| Arc::get_mut(&mut lane.0).is_none())
    }

    /// The reference for a call.
    #[inline]
    pub(crate) fn hold(&mut self) -> Held<T> {
        if self.calls != Calls::OwnLane {
            self.count_call();
        }
        Held(Arc::clone(&self.lane))
    }

    #[cold]
    fn count_call(&mut self) {
        self.calls = match self.calls {
            Calls::Shared(calls) if calls < self.shares => Calls::Shared(calls + 1),
            Calls::Shared(_) | Calls::OwnLane => {
                self.lane = Lane::of(Arc::clone(&self.lane.0));
                Calls::OwnLane
            }
        };
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            calls: Calls::Shared(0),
            shares: self.shares,
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.lane.0
    }
}

/// The reference that a call holds.
#[allow(missing_debug_implementations, reason = "users cannot name it")]
pub struct Held<T>(Arc<Lane<T>>);

impl<T> Held<T> {
    /// The state. No method, which would hide one of the state's.
    pub(crate) fn arc(held: &Self) -> &Arc<T> {
        &held.0.0
    }

    /// For type erasure.
    pub(crate) fn into_lane(self) -> Arc<Lane<T>> {
        self.0
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.0
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;

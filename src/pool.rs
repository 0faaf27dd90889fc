//! How a call reaches the state of its layer.
//!
//! Every clone of a layer and of its services shares one state, and every call needs it until its very end. A reference
//! count for each call would do, but it costs more than any policy here, and threads that share it fight over it. So a state
//! lives in a place that is never freed but used again: a call holds a plain reference to it, and layers, services and handles
//! alone are counted. When the last of them is gone, the next layer of the kind may move in.
//!
//! A call can outlive them all, and then find someone else in the place. It must do no harm there, so a [`Resident`] marks
//! everything that a call gives back: places with a generation, outcomes with an epoch that never repeats.
//!
//! As many places exist as layers of a kind were ever alive at the same time.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// A state that lives in a pool.
pub(crate) trait Resident: Sync + Sized + 'static {
    /// What it takes to move in.
    type Settings;

    fn pool() -> &'static Pool<Self>;

    /// A new one that nobody lives in.
    fn vacant() -> Self;

    /// Becomes the state of a new layer.
    fn move_in(&self, settings: Self::Settings);

    /// The layer is gone. From now on, what its calls still do has no effect; `false` if that cannot be said of yet another
    /// tenant's calls, and the place must stay empty.
    fn move_out(&self) -> bool;
}

/// Places that are free.
pub(crate) struct Pool<T: 'static>(Mutex<Vec<&'static T>>);

impl<T: Resident> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn take(&self) -> &'static T {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Box::leak(Box::new(T::vacant())))
    }

    fn give_back(&self, place: &'static T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(place);
    }
}

/// The state of a layer, as a layer, a service or a handle holds it.
pub(crate) struct Home<T: Resident> {
    // The same as the lease's; here it is one step closer.
    state: &'static T,
    lease: Arc<Lease<T>>,
}

struct Lease<T: Resident>(&'static T);

impl<T: Resident> Drop for Lease<T> {
    fn drop(&mut self) {
        if self.0.move_out() {
            T::pool().give_back(self.0);
        }
    }
}

impl<T: Resident> Home<T> {
    pub(crate) fn new(settings: T::Settings) -> Self {
        let state = T::pool().take();
        state.move_in(settings);
        Self {
            state,
            lease: Arc::new(Lease(state)),
        }
    }

    /// The state, as a call holds it: for as long as it likes, but without keeping the layer in its place.
    #[inline]
    pub(crate) fn state(&self) -> &'static T {
        self.state
    }
}

impl<T: Resident> Clone for Home<T> {
    fn clone(&self) -> Self {
        Self {
            state: self.state,
            lease: Arc::clone(&self.lease),
        }
    }
}

impl<T: Resident> Deref for Home<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.state
    }
}

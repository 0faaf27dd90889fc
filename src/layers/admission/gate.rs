//! The service of every layer that admits or rejects calls.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::future::CallFuture;
use crate::call::inner::{Inner, InnerFuture, Ready};
use crate::call::permit::Permit;
use crate::runtime::shared::Shared;
use crate::vocabulary::reason::Reason;

/// An inner service and the instances that admit its calls: one for all, or one for each key.
pub(crate) struct Gate<S, I, T> {
    pub(crate) inner: Inner<S>,
    pub(crate) state: I,
    pub(crate) tracker: T,
}

/// The future of a call that was admitted or rejected.
pub(crate) type Admitted<F, A, T> = CallFuture<InnerFuture<F>, Permit<A, T>>;

/// Ready at once if the call would be rejected for this reason, else when the inner service is
/// ready.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn poll_ready<S, Req>(
    inner: &mut Inner<S>,
    refuses: Option<Reason>,
    cx: &mut Context<'_>,
) -> Poll<()>
where
    S: Service<Req>,
    S::Error: Send + 'static,
{
    if let Some(reason) = refuses {
        inner.will_reject(reason);
        return Poll::Ready(());
    }
    inner.poll_ready(cx)
}

/// Calls the inner service if it is ready and the instance admits the call.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn call<S, A, T, Req>(
    inner: &mut Inner<S>,
    state: &mut Shared<A>,
    tracker: &T,
    request: Req,
    mut entry: Entry,
) -> Admitted<S::Future, A, T>
where
    S: Service<Req>,
    S::Error: 'static,
    A: Admit,
    T: Clone,
{
    let refusal = match inner.take_ready() {
        Ready::Yes => match state.admit(&mut entry) {
            Ok(ticket) => {
                // Made before the call, so that a panic in the call releases it.
                let permit = Permit::new(state.hold(), ticket, || tracker.clone());
                return CallFuture::admitted(inner.call(request, &entry), permit);
            }
            Err(refusal) => refusal,
        },
        Ready::No(reason) => Refusal {
            reason,
            retry_after: state.retry_after(),
        },
    };
    reject(&**state, refusal)
}

#[cold]
pub(crate) fn reject<F, A: Admit, T>(state: &A, refusal: Refusal) -> Admitted<F, A, T> {
    state.refused(refusal.reason);
    CallFuture::rejected(state.reject(refusal.reason, refusal.retry_after))
}

impl<S: Clone, I: Clone, T: Clone> Clone for Gate<S, I, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            tracker: self.tracker.clone(),
        }
    }
}

/// Gives a service whose field `gate` is a [`Gate`] access to its inner service.
macro_rules! inner_of_gate {
    ([$($generics:tt)*] $service:ty) => {
        impl<$($generics)*> $service {
            /// The inner service.
            pub fn get_ref(&self) -> &S {
                self.gate.inner.get_ref()
            }

            /// Unwraps the inner service.
            pub fn into_inner(self) -> S {
                self.gate.inner.into_inner()
            }
        }
    };
}

/// Implements `Service` for a service whose field `gate` is a [`Gate`] with the instances of `$keys`.
macro_rules! call_through_gate {
    ([$($generics:tt)*] $service:ty, $future:ty, $keys:ty => $state:ty) => {
        impl<S, Req, T, $($generics)*> tower_service::Service<Req> for $service
        where
            S: tower_service::Service<Req>,
            S::Error: $crate::vocabulary::error::WithRejection,
            T: $crate::call::track::Track<S::Response, $crate::vocabulary::error::Grown<S::Error>>
                + Clone,
        {
            type Response = T::Response;
            type Error = $crate::vocabulary::error::Grown<S::Error>;
            type Future = $future;

            /// Ready at once if the call would be rejected whatever its key, else when the inner
            /// service is ready.
            #[cfg_attr(not(debug_assertions), inline(always))]
            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                let $crate::layers::admission::Gate { inner, state, .. } = &mut self.gate;
                let refuses = <$keys as $crate::layers::keyed::Keying>::refuses::<$state>(state);
                $crate::layers::admission::gate::poll_ready(inner, refuses, cx).map(Ok)
            }

            #[cfg_attr(not(debug_assertions), inline(always))]
            fn call(&mut self, request: Req) -> Self::Future {
                let entry = $crate::call::entry::Entry::of(self);
                let $crate::layers::admission::Gate { inner, state, tracker } = &mut self.gate;
                let state = <$keys as $crate::layers::keyed::KeyingOf<Req>>::pick::<$state>(state, &request);
                let call = $crate::layers::admission::call;
                <$future>::new(call(inner, state, tracker, request, entry))
            }
        }
    };
}

/// The same for a service whose calls may wait.
macro_rules! wait_at_gate {
    ([$($generics:tt)*] $service:ty, $future:ty, $keys:ty => $state:ty) => {
        impl<S, Req, T, $($generics)*> tower_service::Service<Req> for $service
        where
            S: tower_service::Service<Req> + Clone,
            S::Error: $crate::vocabulary::error::WithRejection,
            T: $crate::call::track::Track<S::Response, $crate::vocabulary::error::Grown<S::Error>>
                + Clone,
        {
            type Response = T::Response;
            type Error = $crate::vocabulary::error::Grown<S::Error>;
            type Future = $future;

            /// Ready at once if the call would wait or be rejected whatever its key, else when the
            /// inner service is ready.
            #[cfg_attr(not(debug_assertions), inline(always))]
            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                let $crate::layers::admission::Gate { inner, state, .. } = &mut self.gate;
                let refuses = <$keys as $crate::layers::keyed::Keying>::refuses::<$state>(state);
                $crate::layers::admission::poll_ready_or_wait(inner, refuses, cx).map(Ok)
            }

            #[cfg_attr(not(debug_assertions), inline(always))]
            fn call(&mut self, request: Req) -> Self::Future {
                let entry = $crate::call::entry::Entry::of(self);
                let $crate::layers::admission::Gate { inner, state, tracker } = &mut self.gate;
                let state = <$keys as $crate::layers::keyed::KeyingOf<Req>>::pick::<$state>(state, &request);
                let call = $crate::layers::admission::call_or_wait;
                <$future>::new(call(inner, state, tracker, request, entry))
            }
        }
    };
}

pub(crate) use {call_through_gate, inner_of_gate, wait_at_gate};

//! The services of standard stacks: newtypes, so that a type that is named, and an error that names it, stay short.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::protocol::{Http, Protocol};
use crate::bulkhead::{Bulkhead, Queued};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerHandle};
use crate::correlation::{Client, Correlation};
use crate::http::{BodyLimits, Deadline, EndOfBody, HttpClassifier, HttpLimit};
use crate::load_shed::{Limited, LoadShed};
use crate::respond::Respond;
use crate::retry::Retry;
use crate::timeout::{Fixed, Timeout};
use crate::{Carry, WithRejection};

/// A service behind the outer layers of a [`ServerStack`](super::ServerStack): correlation and respond.
#[derive(Clone)]
pub struct ServerService<T>(pub(super) Correlation<Respond<T>>);

/// A service behind the inner layers of a [`ServerStack`](super::ServerStack): timeout, load shed and bulkhead.
#[derive(Clone)]
pub struct LimitedService<S, C = HttpClassifier>(pub(super) Limits<S, C>);

type Limits<S, C> = Timeout<
    LoadShed<Bulkhead<S, Queued, EndOfBody<C>>, Limited<EndOfBody<C>>>,
    HttpLimit,
    BodyLimits,
>;

/// A service behind the outer layers of a [`ClientStack`](super::ClientStack): correlation, timeout and retry.
#[derive(Clone)]
pub struct ClientService<T, P: Protocol = Http>(pub(super) Calls<T, P>);

type Calls<T, P> = Correlation<
    Timeout<Retry<T, <P as Protocol>::Policy, <P as Protocol>::Receive>, HttpLimit, BodyLimits>,
    Client,
>;

/// A service behind the inner layers of a [`ClientStack`](super::ClientStack), which see each attempt: circuit breaker, bulkhead,
/// attempt timeout and deadline.
#[derive(Clone)]
pub struct AttemptService<S, C = HttpClassifier>(pub(super) Attempts<S, C>);

type Attempts<S, C> = CircuitBreaker<
    Bulkhead<Timeout<Deadline<S>, Fixed, BodyLimits>, Queued, EndOfBody<C>>,
    EndOfBody<C>,
>;

macro_rules! services {
    ($($name:ident<$inner:ident $(, $param:ident $(: $of:ident)?)?> is $stack:ty where $($bound:ty: $trait:ident $(<$arg:ty>)?),*;)*) => {$(
        impl<Req, $inner $(, $param $(: $of)?)?> Service<Req> for $name<$inner $(, $param)?>
        where
            $($bound: $trait $(<$arg>)?,)*
            $stack: Service<Req>,
        {
            type Response = <$stack as Service<Req>>::Response;
            type Error = <$stack as Service<Req>>::Error;
            type Future = <$stack as Service<Req>>::Future;

            #[cfg_attr(not(debug_assertions), inline(always))]
            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
                self.0.poll_ready(cx)
            }

            #[cfg_attr(not(debug_assertions), inline(always))]
            fn call(&mut self, request: Req) -> Self::Future {
                self.0.call(request)
            }
        }

        impl<$inner: fmt::Debug $(, $param $(: $of)?)?> fmt::Debug for $name<$inner $(, $param)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).finish()
            }
        }
    )*};
}

impl<S, C, P: Protocol> ClientService<AttemptService<S, C>, P> {
    /// The circuit, to look at and to steer: the same as that of the [stack](super::ClientStack::circuit_breaker).
    #[must_use]
    pub fn circuit_breaker(&self) -> CircuitBreakerHandle {
        self.0.get_ref().get_ref().get_ref().0.handle()
    }
}

// What a user can do something about comes first, so that it is what the compiler speaks of.
services! {
    ServerService<T> is Correlation<Respond<T>> where T: Service<Req>;
    LimitedService<S, C> is Limits<S, C> where S: Service<Req>, S::Error: WithRejection;
    ClientService<T, P: Protocol> is Calls<T, P> where T: Service<Req>, Req: Carry;
    AttemptService<S, C> is Attempts<S, C> where S: Service<Req>, S::Error: WithRejection;
}

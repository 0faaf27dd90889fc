//! The services of standard stacks: newtypes, for short type names and compiler errors.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::client_stack::{Attempts, Calls};
use super::protocol::{Http, Protocol};
use super::server_stack::{Limits, Requests};
use crate::layers::circuit_breaker::CircuitBreakerHandle;
use crate::layers::correlation::Carry;
use crate::vocabulary::error::WithRejection;

/// A service inside the outer layers of a [`ServerStack`](super::ServerStack): correlation and
/// respond.
#[derive(Clone)]
pub struct ServerService<T>(pub(super) Requests<T>);

/// A service inside the inner layers of a [`ServerStack`](super::ServerStack): timeout, load shed
/// and bulkhead.
#[derive(Clone)]
pub struct LimitedService<S>(pub(super) Limits<S>);

/// A service inside the outer layers of a [`ClientStack`](super::ClientStack): correlation, timeout
/// and retry.
#[derive(Clone)]
pub struct ClientService<T, P: Protocol = Http>(pub(super) Calls<T, P>);

/// A service inside the inner layers of a [`ClientStack`](super::ClientStack), which see each
/// attempt: circuit breaker, bulkhead, attempt timeout and deadline.
#[derive(Clone)]
pub struct AttemptService<S, P: Protocol = Http>(pub(super) Attempts<S, P>);

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

impl<S, P: Protocol> ClientService<AttemptService<S, P>, P> {
    /// The handle of the circuit breaker, the same as that of the
    /// [stack](super::ClientStack::circuit_breaker).
    #[must_use]
    pub fn circuit_breaker(&self) -> CircuitBreakerHandle {
        self.0.get_ref().get_ref().get_ref().0.get_ref().handle()
    }
}

// The bounds that a user can satisfy come first, so that compiler errors name them.
services! {
    ServerService<T> is Requests<T> where T: Service<Req>;
    LimitedService<S> is Limits<S> where S: Service<Req>, S::Error: WithRejection;
    ClientService<T, P: Protocol> is Calls<T, P> where T: Service<Req>, Req: Carry;
    AttemptService<S, P: Protocol> is Attempts<S, P> where S: Service<Req>, S::Error: WithRejection;
}

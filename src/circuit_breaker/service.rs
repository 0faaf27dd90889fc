use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::admitted::Admitted;
use super::circuit::Circuit;
use super::handle::CircuitBreakerHandle;
use crate::guarded::Guarded;
use crate::hold::Hold;
use crate::inner::{Inner, InnerFuture, Ready};
use crate::name::Origin;
use crate::policy::breaker::{Decision, Ticket};
use crate::pool::Home;
use crate::runtime::Entry;
use crate::tells::Tells;
use crate::time::Time;
use crate::track::Track;
use crate::{AtResponse, Grown, Reason, WithRejection};

/// A service behind a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
#[derive(Clone)]
pub struct CircuitBreaker<S, T = AtResponse> {
    pub(super) inner: Inner<S>,
    pub(super) circuit: Home<Circuit>,
    pub(super) origin: &'static Origin,
    pub(super) tracker: T,
}

impl<S, T> CircuitBreaker<S, T> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// A handle to look at the circuit and to steer it.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(self.circuit.clone(), self.origin)
    }

    /// The inner service, without the circuit breaker.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, Req, T> Service<Req> for CircuitBreaker<S, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.circuit.rejects() {
            self.inner.will_reject(Reason::CircuitOpen);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let circuit = self.circuit.state();
        let (reason, retry_after) = match self.inner.take_ready() {
            Ready::Yes => {
                let ticket = match circuit.admit() {
                    Some(ticket) => Ok(ticket),
                    None => match circuit.ask() {
                        Decision::Admit(ticket) => {
                            if ticket.would_reject() {
                                circuit.would_reject(self.origin);
                            }
                            Ok(ticket)
                        }
                        Decision::Reject { retry_after } => Err(retry_after),
                    },
                };
                match ticket {
                    Ok(ticket) => return self.let_through(request, ticket),
                    Err(retry_after) => (Reason::CircuitOpen, retry_after),
                }
            }
            Ready::No(reason) => (reason, circuit.retry_after()),
        };
        Guarded::rejected(circuit.reject(self.origin, reason, retry_after))
    }
}

impl<S, T> CircuitBreaker<S, T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn let_through<Req>(&mut self, request: Req, ticket: Ticket) -> ResponseFuture<S::Future, T>
    where
        S: Service<Req>,
        S::Error: WithRejection,
        T: Clone,
    {
        let circuit = self.circuit.state();
        let _entry = circuit.times().then(Entry::new);
        let call = Admitted {
            ticket,
            // Where nobody asks for the time, it is taken for nothing if somebody further out has read the clock.
            time: Entry::peek().map_or(Time::UNKNOWN, Time::at_once),
        };
        let admission = Admission::new(circuit, call, 0, self.tracker.clone());
        Guarded::admitted(self.inner.call(request), admission)
    }
}

/// The future of a call through a circuit breaker.
pub type ResponseFuture<F, T = AtResponse> = Guarded<InnerFuture<F>, Admission<T>>;

/// A call that a circuit breaker has let through, until its outcome is known.
pub type Admission<T> = Hold<Circuit, T>;

impl<S: fmt::Debug, T> fmt::Debug for CircuitBreaker<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("circuit", self.origin)
            .finish()
    }
}

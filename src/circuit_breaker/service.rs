use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::circuit::Circuit;
use super::time::Time;
use crate::context;
use crate::guarded::{Guard, Guarded, Inner, Progress, Ready};
use crate::name::Origin;
use crate::observe::EventKind;
use crate::policy::breaker::{Decision, Ticket};
use crate::pool::Home;
use crate::runtime::{Entry, Moment};
use crate::track::{CANCELLED, FAILED, Settle, Track};
use crate::{AtResponse, Grown, Reason, Verdict, WithRejection};

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
        &self.inner.service
    }

    /// The inner service, without the circuit breaker.
    pub fn into_inner(self) -> S {
        self.inner.service
    }
}

impl<S, Req, T> Service<Req> for CircuitBreaker<S, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response<Admission<T>>;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.circuit.rejects() {
            self.inner.will_reject(Reason::CircuitOpen);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let circuit = self.circuit.state();
        let (reason, retry_after) = match self.inner.take_ready() {
            Ready::Yes => {
                let ticket = match circuit.admit() {
                    Some(ticket) => Ok(ticket),
                    None => match circuit.ask() {
                        Decision::Admit(ticket) => Ok(ticket),
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
        Guarded::rejected(circuit.listeners.reject(self.origin, reason, retry_after))
    }
}

impl<S, T> CircuitBreaker<S, T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn let_through<Req>(&mut self, request: Req, ticket: Ticket) -> ResponseFuture<S::Future, T>
    where
        S: Service<Req>,
        T: Clone,
    {
        let circuit = self.circuit.state();
        let _entry = circuit.times().then(Entry::new);
        let admission = Admission {
            circuit,
            tracker: self.tracker.clone(),
            ticket,
            // Where nobody asks for the time, it is taken for nothing if somebody further out has read the clock.
            time: Entry::peek().map_or(Time::UNKNOWN, Time::at_once),
            progress: Progress::new(0),
        };
        Guarded::admitted(self.inner.service.call(request), admission)
    }
}

/// The future of a call through a circuit breaker.
pub type ResponseFuture<F, T = AtResponse> = Guarded<F, Admission<T>>;

/// A call that a circuit breaker has let through, until its outcome is known.
pub struct Admission<T> {
    circuit: &'static Circuit,
    tracker: T,
    ticket: Ticket,
    time: Time,
    progress: Progress,
}

impl<T> Settle for Admission<T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, verdict: Verdict) {
        if self.progress.is_settled() {
            return;
        }
        self.finish(verdict, self.time);
    }
}

impl<T> Admission<T> {
    /// `counts_as` is the time that the circuit hears of; told is the true one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn finish(&mut self, verdict: Verdict, counts_as: Time) {
        self.progress.settle();
        let (circuit, time) = (self.circuit, self.time);
        circuit.record(self.ticket, verdict, counts_as);
        circuit
            .listeners
            .tell(self.ticket.epoch(), || EventKind::Settled {
                outcome: verdict.outcome(),
                latency: time.is_known().then(|| time.ran()),
            });
    }
}

impl<T> Guard for Admission<T> {
    type Track = T;

    #[inline]
    fn tracker(&self) -> &T {
        &self.tracker
    }

    #[inline]
    fn entered(&mut self) {
        self.progress.enter();
    }

    #[inline]
    fn returned(&mut self) {
        self.progress.leave();
    }

    #[inline]
    fn suspended(&mut self) {
        self.returned();
        self.time = self.time.waiting();
        if !self.time.is_known() && self.circuit.times_cancelled() {
            self.time = Time::since(Moment::now());
        }
    }

    fn at_head(&mut self) {
        if self.time.is_known() {
            self.time = Time::took(self.time.ran());
        }
    }
}

impl<T> Drop for Admission<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.progress.is_settled() {
            if self.progress.is_entered() {
                self.settle(FAILED);
            } else if context::deadline_has_passed() {
                // Cut off by its own deadline, however short that was: no caller that changed its mind.
                self.finish(CANCELLED, Time::took(Duration::MAX));
            } else {
                self.finish(CANCELLED, self.time.if_it_waited());
            }
        }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for CircuitBreaker<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner.service)
            .field("circuit", self.origin)
            .finish()
    }
}

impl<T> fmt::Debug for Admission<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

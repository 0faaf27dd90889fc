use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::circuit::{Circuit, Time};
use crate::context;
use crate::guarded::{Guard, Guarded, Inner, Ready};
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.circuit.rejects() {
            self.inner.will_reject(Reason::CircuitOpen);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let circuit = self.circuit.state();
        let (reason, retry_after) = match self.inner.take_ready() {
            Ready::Yes => match circuit.admit() {
                Decision::Admit(ticket) => {
                    let entry = circuit.times().then(Entry::new);
                    // Where nobody needs the time, it is taken for nothing if somebody further out has read the clock.
                    let admission = Admission {
                        time: Entry::peek().map_or(Time::Unknown, Time::AtOnce),
                        circuit,
                        tracker: self.tracker.clone(),
                        ticket,
                        settled: false,
                        entered: true,
                    };
                    let call = self.inner.service.call(request);
                    drop(entry);
                    return Guarded::admitted(call, admission);
                }
                Decision::Reject { retry_after } => (Reason::CircuitOpen, retry_after),
            },
            Ready::No(reason) => (reason, circuit.retry_after()),
        };
        Guarded::rejected(circuit.listeners.reject(self.origin, reason, retry_after))
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
    settled: bool,
    entered: bool,
}

impl<T> Settle for Admission<T> {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let (circuit, time) = (self.circuit, self.time);
        circuit.record(self.ticket, verdict, time);
        circuit
            .listeners
            .tell(self.ticket.epoch(), || EventKind::Settled {
                outcome: verdict.outcome(),
                latency: match time {
                    Time::Unknown => None,
                    known => Some(known.ran()),
                },
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
        self.entered = true;
    }

    #[inline]
    fn returned(&mut self) {
        self.entered = false;
    }

    #[inline]
    fn suspended(&mut self) {
        self.returned();
        self.time = match self.time {
            Time::AtOnce(started) => Time::Since(started),
            Time::Unknown if self.circuit.times_cancelled() => Time::Since(Moment::now()),
            known => known,
        };
    }

    fn at_head(&mut self) {
        self.time = match self.time {
            Time::Unknown => Time::Unknown,
            known => Time::Took(known.ran()),
        };
    }
}

impl<T> Drop for Admission<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            if !self.entered && context::deadline_has_passed() {
                // Cut off by its own deadline, however short that was: no caller that changed its mind.
                self.time = Time::Took(Duration::MAX);
            }
            self.settle(if self.entered { FAILED } else { CANCELLED });
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

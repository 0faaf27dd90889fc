use std::fmt;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower_service::Service;

use super::layer::State;
use crate::guarded::{Guard, Guarded, Inner, Ready};
use crate::observe::EventKind;
use crate::policy::breaker::{Decision, Ticket};
use crate::runtime::{Entry, now};
use crate::shared::{Held, Shared};
use crate::track::{CANCELLED, FAILED, Settle, Track};
use crate::{AtResponse, Grown, Reason, Verdict, WithRejection};

/// A service behind a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
pub struct CircuitBreaker<S, T = AtResponse> {
    pub(super) inner: Inner<S>,
    pub(super) shared: Shared<State<T>>,
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
    T: Track<S::Response, Grown<S::Error>>,
{
    type Response = T::Response<Admission<T>>;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.shared.circuit.rejects() {
            self.inner.will_reject(Reason::CircuitOpen);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let circuit = &self.shared.circuit;
        let (reason, retry_after) = match self.inner.take_ready() {
            Ready::Yes => match circuit.admit() {
                Decision::Admit(ticket) => {
                    let entry = circuit.slow.is_some().then(Entry::new);
                    let admission = Admission {
                        started: entry.as_ref().map(Entry::now),
                        state: self.shared.hold(),
                        ticket,
                        ended: None,
                        settled: false,
                        entered: true,
                    };
                    return Guarded::admitted(self.inner.service.call(request), admission);
                }
                Decision::Reject { retry_after } => (Reason::CircuitOpen, retry_after),
            },
            Ready::No(reason) => (reason, circuit.retry_after()),
        };
        Guarded::rejected(circuit.listeners.reject(reason, retry_after))
    }
}

/// The future of a call through a circuit breaker.
pub type ResponseFuture<F, T = AtResponse> = Guarded<F, Admission<T>>;

/// A call that a circuit breaker has let through, until its outcome is known.
pub struct Admission<T> {
    state: Held<State<T>>,
    ticket: Ticket,
    /// Known from the start where a slow-call rule asks for it; else from when the call first had to wait,
    /// which is all that a cancellation asks for.
    started: Option<Instant>,
    /// When the head came of a response whose outcome was not known then.
    ended: Option<Instant>,
    settled: bool,
    entered: bool,
}

impl<T> Settle for Admission<T> {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let circuit = &self.state.circuit;
        circuit.record(self.ticket, verdict, self.started, self.ended);
        circuit.listeners.tell(|| EventKind::Settled {
            outcome: verdict.outcome(),
            latency: self
                .started
                .map(|started| self.ended.unwrap_or_else(now).duration_since(started)),
        });
    }
}

impl<T> Guard for Admission<T> {
    type Track = T;

    #[inline]
    fn tracker(&self) -> &T {
        &self.state.tracker
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
        if self.started.is_none() && self.state.circuit.times_cancelled {
            self.started = Some(now());
        }
    }

    fn at_head(&mut self) {
        self.ended = Some(now());
    }
}

impl<T> Drop for Admission<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.settle(if self.entered { FAILED } else { CANCELLED });
        }
    }
}

impl<S: Clone, T> Clone for CircuitBreaker<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for CircuitBreaker<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner.service)
            .field("circuit", self.shared.circuit.listeners.origin())
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

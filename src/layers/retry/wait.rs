//! The time between two attempts: the back-off, and the wait for the inner service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::budget::Payment;
use super::service::Spare;
use super::snapshot::Stats;
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::layers::handle::Adjust as _;
use crate::observe::emit::Emit;
use crate::policy::retry::RetryRefused;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::{error::WithRejection, reason::Reason};

/// The attempt after the wait.
pub(super) struct Next<S, Req> {
    pub(super) service: Inner<S>,
    pub(super) request: Req,
    /// The result of the service's `poll_ready`.
    pub(super) readiness: Readiness,
}

/// An announced retry. Dropping it unsettled records that its caller gave up.
pub(super) struct PendingRetry {
    stats: Option<Arc<Stats>>,
    since: Moment,
}

impl PendingRetry {
    pub(super) fn new(stats: Arc<Stats>) -> Self {
        Self {
            stats: Some(stats),
            since: Moment::now(),
        }
    }

    /// It was sent or refused.
    fn settle(&mut self) {
        self.stats = None;
    }
}

impl Drop for PendingRetry {
    fn drop(&mut self) {
        if let Some(stats) = &self.stats {
            stats.gave_up(self.since.elapsed());
        }
    }
}

pin_project! {
    pub(super) struct Wait<S, E, Req> {
        // For the back-off, and then for the readiness of the service.
        #[pin]
        timer: Timer,
        // `Some` after the back-off.
        service: Option<Inner<S>>,
        payment: Option<Payment>,
        request: Option<Req>,
        // The error of the last attempt: the answer if there is no next one.
        error: Option<E>,
        // Last, so that the request is dropped before the event is emitted.
        pending_retry: PendingRetry,
    }
}

impl<S, E, Req> Wait<S, E, Req> {
    pub(super) fn until(
        at: Moment,
        payment: Option<Payment>,
        request: Req,
        error: Option<E>,
        pending_retry: PendingRetry,
    ) -> Self {
        Self {
            request: Some(request),
            timer: Timer::at(at),
            service: None,
            payment,
            error,
            pending_retry,
        }
    }

    /// The next attempt, or the error that is the answer. A payment is spent only if the attempt is
    /// sent.
    pub(super) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        spare: &Spare<S>,
        stats: &Stats,
        deadline: Moment,
    ) -> Poll<Result<Next<S, Req>, E>>
    where
        S: Service<Req> + Clone,
        S::Error: WithRejection<Error = E>,
        E: WithRejection<Error = E>,
    {
        let mut this = self.project();
        if this.service.is_none() {
            ready!(this.timer.as_mut().poll(cx));
            let service = ready!(spare.poll_clone(cx));
            *this.service = Some(Inner::new(service));
            let until = Moment::now().after(stats.settings().max_ready_wait);
            this.timer.set(Timer::at(until.min(deadline)));
        }
        let Some(service) = this.service else {
            return Poll::Pending;
        };
        let (ready, readiness) = Readiness::of(|| service.poll_ready(cx));
        match ready {
            Poll::Ready(()) => {
                this.pending_retry.settle();
                let payment = this.payment.take();
                if !matches!(readiness, Readiness::Failed(_))
                    && let Some(payment) = payment
                {
                    payment.spend();
                }
                let next = this.service.take().zip(this.request.take());
                let next = next.map(|(service, request)| Next {
                    service,
                    request,
                    readiness,
                });
                Poll::Ready(next.ok_or_else(|| E::reject(stats.reject(Reason::NotReady, None))))
            }
            Poll::Pending => {
                ready!(this.timer.poll(cx));
                this.pending_retry.settle();
                stats.refuse(RetryRefused::NotReady);
                Poll::Ready(Err(this
                    .error
                    .take()
                    .unwrap_or_else(|| E::reject(stats.reject(Reason::NotReady, None)))))
            }
        }
    }
}

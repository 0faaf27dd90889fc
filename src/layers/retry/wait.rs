//! What lies between two attempts: the back-off, and the wait for the inner service.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::budget::Payment;
use super::service::Kit;
use super::snapshot::Books;
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::observe::emit::Emit;
use crate::policy::retry::RetryRefused;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::{error::WithRejection, reason::Reason};

/// The attempt that begins when the wait is over.
pub(super) struct Next<S, Req> {
    pub(super) service: Inner<S>,
    pub(super) request: Req,
    /// Of the service's readiness.
    pub(super) readiness: Readiness,
}

/// A retry that was announced: it is sent, refused after all, or given up.
pub(super) struct Announced {
    books: Option<Arc<Books>>,
    since: Moment,
}

impl Announced {
    pub(super) fn new(books: Arc<Books>) -> Self {
        Self {
            books: Some(books),
            since: Moment::now(),
        }
    }

    /// It was sent or refused.
    fn settle(&mut self) {
        self.books = None;
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(books) = &self.books {
            books.gave_up(self.since.elapsed());
        }
    }
}

pin_project! {
    pub(super) struct Wait<S, E, Req> {
        // For the time of the next attempt, and then for as long as the service may take to be ready.
        #[pin]
        timer: Timer,
        // There once the time has come.
        service: Option<Inner<S>>,
        payment: Option<Payment>,
        request: Option<Req>,
        // The last attempt's: the answer if there is no next one.
        error: Option<E>,
        // Last: the request is dropped before anybody hears of it.
        announced: Announced,
    }
}

impl<S, E, Req> Wait<S, E, Req> {
    pub(super) fn until(
        at: Moment,
        payment: Option<Payment>,
        request: Req,
        error: Option<E>,
        announced: Announced,
    ) -> Self {
        Self {
            request: Some(request),
            timer: Timer::at(at),
            service: None,
            payment,
            error,
            announced,
        }
    }

    /// The next attempt, which is then paid for unless it will not be sent; or the error that is the answer instead.
    pub(super) fn poll<P, R>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        kit: &Kit<S, P, R>,
        deadline: Moment,
    ) -> Poll<Result<Next<S, Req>, E>>
    where
        S: Service<Req> + Clone,
        S::Error: WithRejection<Error = E>,
        E: WithRejection<Error = E>,
    {
        let mut this = self.project();
        let core = &kit.core;
        if this.service.is_none() {
            ready!(this.timer.as_mut().poll(cx));
            let until = Moment::now().after(core.settings.max_ready_wait);
            this.timer.set(Timer::at(until.min(deadline)));
            let spare = kit.spare.lock().unwrap_or_else(PoisonError::into_inner);
            *this.service = Some(Inner::new(spare.clone()));
        }
        let Some(service) = this.service else {
            return Poll::Pending;
        };
        let (ready, readiness) = Readiness::of(|| service.poll_ready(cx));
        match ready {
            Poll::Ready(()) => {
                this.announced.settle();
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
                Poll::Ready(next.ok_or_else(|| E::reject(core.reject(Reason::NotReady, None))))
            }
            Poll::Pending => {
                ready!(this.timer.poll(cx));
                this.announced.settle();
                core.refuse(RetryRefused::NotReady);
                Poll::Ready(Err(this
                    .error
                    .take()
                    .unwrap_or_else(|| E::reject(core.reject(Reason::NotReady, None)))))
            }
        }
    }
}

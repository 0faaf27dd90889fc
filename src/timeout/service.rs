use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::{Fixed, PerRequest};
use crate::context::{self, DeadlineScope};
use crate::observe::Teller;
use crate::runtime::{Entry, Moment};
use crate::{Grown, Reason, WithRejection};

/// A service behind a [`TimeoutLayer`](crate::TimeoutLayer).
#[derive(Clone)]
pub struct Timeout<S, P = Fixed> {
    pub(super) inner: S,
    pub(super) policy: P,
    pub(super) teller: Teller,
}

impl<S, P> Timeout<S, P> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, without the time limit.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, Req> Service<Req> for Timeout<S, P>
where
    S: Service<Req>,
    S::Error: WithRejection,
    P: PerRequest<Req>,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(WithRejection::grow)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::new();
        let inherited = context::deadline();
        if inherited <= entry.now() {
            return ResponseFuture::rejected(self.teller.reject(Reason::DeadlinePassed));
        }
        // A limit beyond what the clock can tell is no limit.
        let own = match self.policy.timeout(&request) {
            Some(timeout) => entry.now().after(timeout),
            None => Moment::NEVER,
        };
        let deadline = inherited.min(own);
        let _scope = DeadlineScope::enter(deadline);
        ResponseFuture::new(self.inner.call(request), deadline, self.teller.clone())
    }
}

impl<S: fmt::Debug, P: fmt::Debug> fmt::Debug for Timeout<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

//! The service of every layer that admits and rejects calls.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::future::CallFuture;
use crate::call::inner::{Inner, InnerFuture, Ready};
use crate::call::permit::Permit;
use crate::runtime::shared::Shared;

/// An inner service, and the instance that admits its calls.
pub(crate) struct Gate<S, A, T> {
    pub(crate) inner: Inner<S>,
    pub(crate) state: Shared<A>,
    pub(crate) tracker: T,
}

/// The future of a call that was admitted or rejected.
pub(crate) type Admitted<F, A, T> = CallFuture<InnerFuture<F>, Permit<A, T>>;

impl<S, A: Admit, T> Gate<S, A, T> {
    /// Ready to reject without asking the inner service.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        S: Service<Req>,
        S::Error: Send + 'static,
    {
        if let Some(reason) = self.state.refuses() {
            self.inner.will_reject(reason);
            return Poll::Ready(());
        }
        self.inner.poll_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn call<Req>(&mut self, request: Req, entry: Entry) -> Admitted<S::Future, A, T>
    where
        S: Service<Req>,
        S::Error: 'static,
        T: Clone,
    {
        call(
            &mut self.inner,
            &mut self.state,
            &self.tracker,
            request,
            entry,
        )
    }
}

/// Calls the inner service, if it is ready and the instance admits the call.
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
                // Before the call, so that it is released should the call panic.
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

impl<S: Clone, A, T: Clone> Clone for Gate<S, A, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            tracker: self.tracker.clone(),
        }
    }
}

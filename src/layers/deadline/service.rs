use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::WriteDeadline;
use crate::call::entry::Entry;
use crate::call::future::{CallFuture, Uncounted, uncounted_future};
use crate::call::inner::Inner;
use crate::observe::emit::Emit as _;
use crate::observe::emitter::Emitter;
use crate::runtime::Moment;
use crate::runtime::shared::Shared;
use crate::vocabulary::{
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

/// A service inside a deadline layer: `mainstay::http::DeadlineLayer` (feature `http`), or the
/// deadline of a [`mainstay::client`](crate::client). `W` writes the remaining time into requests.
#[derive(Clone)]
pub struct Deadline<S, W> {
    inner: Inner<S>,
    /// `None` if the layer is off.
    writer: Option<W>,
    emitter: Shared<Emitter>,
}

impl<S, W> Deadline<S, W> {
    pub(crate) fn new(inner: S, writer: Option<W>, emitter: Shared<Emitter>) -> Self {
        Self {
            inner: Inner::new(inner),
            writer,
            emitter,
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without the layer.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, W, Req> Service<Req> for Deadline<S, W>
where
    S: Service<Req>,
    S::Error: WithRejection,
    W: WriteDeadline<Req>,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = DeadlineFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        if let Some(writer) = &self.writer {
            self.emitter.begin();
            let deadline = context::deadline();
            if deadline.local() != Moment::NEVER {
                let now = entry.now();
                if deadline.local() <= now {
                    self.inner.take_ready();
                    let rejection = self.emitter.reject(Reason::DeadlinePassed, None);
                    return DeadlineFuture::new(CallFuture::rejected(rejection));
                }
                if deadline.propagated() != Moment::NEVER {
                    writer.write(&mut request, deadline.propagated().since(now));
                }
            }
        }
        let call = CallFuture::admitted(self.inner.call(request, &entry), Uncounted);
        DeadlineFuture::new(call)
    }
}

impl<S: fmt::Debug, W: fmt::Debug> fmt::Debug for Deadline<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline")
            .field("inner", &self.inner)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

uncounted_future! {
    /// The future of a call through a [`Deadline`].
    pub struct DeadlineFuture<F>
}

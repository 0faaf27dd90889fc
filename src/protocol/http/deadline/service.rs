use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderName;
use tower_service::Service;

use super::wire::{Form, GRPC_TIMEOUT};
use crate::call::entry::Entry;
use crate::call::future::{CallFuture, Uncounted};
use crate::call::inner::{Inner, InnerFuture};
use crate::observe::emit::Emit as _;
use crate::observe::emitter::Emitter;
use crate::protocol::http::{ContentType, HttpRequest, header};
use crate::runtime::Moment;
use crate::runtime::shared::Shared;
use crate::vocabulary::{
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

/// A service behind a [`DeadlineLayer`](super::DeadlineLayer).
#[derive(Clone)]
pub struct Deadline<S> {
    inner: Inner<S>,
    /// None: switched off.
    header: Option<HeaderName>,
    emitter: Shared<Emitter>,
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S, header: Option<HeaderName>, emitter: Shared<Emitter>) -> Self {
        Self {
            inner: Inner::new(inner),
            header,
            emitter,
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, which is told of no deadline.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, Req> Service<Req> for Deadline<S>
where
    S: Service<Req>,
    S::Error: WithRejection,
    Req: HttpRequest,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        if let Some(header) = &self.header {
            let deadline = context::deadline();
            if deadline.local() != Moment::NEVER {
                let now = entry.now();
                if deadline.local() <= now {
                    self.inner.take_ready();
                    let rejection = self.emitter.reject(Reason::DeadlinePassed, None);
                    return CallFuture::rejected(rejection);
                }
                if deadline.propagated() != Moment::NEVER {
                    write(header, &mut request, deadline.propagated().since(now));
                }
            }
        }
        CallFuture::admitted(self.inner.call(request, &entry), Uncounted)
    }
}

impl<S: fmt::Debug> fmt::Debug for Deadline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline")
            .field("inner", &self.inner)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Writes what is left, unless the request itself says less.
fn write(header: &HeaderName, request: &mut impl HttpRequest, left: Duration) {
    let headers = request.headers_mut();
    let (form, name) = if ContentType::of(headers).is_grpc() {
        (Form::Grpc, &GRPC_TIMEOUT)
    } else {
        (Form::Millis, header)
    };
    let shorter = form.of_header(headers, name).is_some_and(|own| own <= left);
    if !shorter {
        header::set(headers, name, form.format(left));
    }
}

/// The future of a call that was told its deadline.
pub type ResponseFuture<F> = CallFuture<InnerFuture<F>, Uncounted>;

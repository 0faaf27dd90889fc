//! The services and their futures.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::{Client, Consumer, CorrelationLayer, Fields, Server};
use super::{Carry, CorrelationId, Encoded, Reply};
use crate::call::entry::Entry;
use crate::call::inner::{Inner, InnerFuture};
use crate::observe::span::{self, InSpan, OwnedEntered, Side};
use crate::runtime::id_parts;
use crate::runtime::opaque::opaque_future;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::context::{self, CorrelationScope};

/// A service with a correlation ID: see [`CorrelationLayer`](crate::CorrelationLayer).
#[derive(Debug, Clone)]
pub struct Correlation<S, D = Server> {
    pub(super) inner: Inner<S>,
    pub(super) layer: CorrelationLayer<D>,
}

impl<S, D> Correlation<S, D> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without the correlation ID.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }

    /// The ID of a request, or a new one, without a span. Overwrites invalid IDs, so that inner
    /// services do not see them.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn receive(&self, request: &mut impl Carry, encoded: Option<&mut Encoded>) -> InCorrelation {
        if !self.layer.on {
            return InCorrelation::none();
        }
        let (fields, trusts) = (&self.layer.fields, self.layer.trusts);
        InCorrelation {
            id: fields.settle(request, trusts, encoded, new_id),
            span: InSpan::none(),
            is_on: true,
        }
    }
}

impl<S, D> Correlation<S, D> {
    /// Calls the inner service in this scope; `None` is the scope of the caller.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call_in<Req>(
        &mut self,
        mut scope: Option<InCorrelation>,
        side: Side,
        request: Req,
        entry: &Entry,
    ) -> ResponseFuture<S::Future>
    where
        S: Service<Req>,
        S::Error: 'static,
    {
        let _entered = scope.as_mut().map(|scope| scope.begin(side, &self.layer));
        ResponseFuture::new(Scoped::new(self.inner.call(request, entry), scope))
    }
}

#[cold]
fn new_id() -> CorrelationId {
    let (millis, random) = id_parts();
    CorrelationId::new(millis, random)
}

impl<S, Req> Service<Req> for Correlation<S, Server>
where
    S: Service<Req>,
    S::Error: Send + 'static,
    S::Response: Reply,
    Req: Carry,
{
    type Response = <S::Response as Reply>::InContext;
    type Error = S::Error;
    type Future = EchoFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let entry = Entry::of(self);
        let mut encoded = Encoded::default();
        let mut scope = self.receive(&mut request, Some(&mut encoded));
        let fields = self.layer.fields.clone();
        // No borrow of the scope, so that the future can be made in place.
        let _entered = scope.begin(Side::Server, &self.layer);
        EchoFuture {
            inner: Scoped::new(self.inner.call(request, &entry), scope),
            fields,
            encoded,
        }
    }
}

impl<S, Req> Service<Req> for Correlation<S, Consumer>
where
    S: Service<Req>,
    S::Error: Send + 'static,
    Req: Carry,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let entry = Entry::of(self);
        let scope = Some(self.receive(&mut request, None));
        self.call_in(scope, Side::Consumer, request, &entry)
    }
}

impl<S, Req> Service<Req> for Correlation<S, Client>
where
    S: Service<Req>,
    S::Error: Send + 'static,
    Req: Carry,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let entry = Entry::of(self);
        let scope = match context::correlation_id() {
            Some(id) => {
                if self.layer.on {
                    let fields = &self.layer.fields;
                    fields.write(&mut request, &id, None);
                }
                None
            }
            None => Some(self.receive(&mut request, None)),
        };
        self.call_in(scope, Side::Client, request, &entry)
    }
}

opaque_future! {
    /// The future of a call with a correlation ID, through a client or a consumer.
    pub struct ResponseFuture<F> = Scoped<InnerFuture<F>, Option<InCorrelation>>;
    impl<Res, E> [F: Future<Output = Result<Res, E>>, E: 'static] for Output = Result<Res, E>
}

/// The scope of a request: its ID in the context, and (feature `tracing`) its span.
pub struct InCorrelation {
    id: CorrelationId,
    span: InSpan,
    /// Whether there is an ID.
    is_on: bool,
}

impl InCorrelation {
    /// An empty scope: the layer is switched off, or the scope was moved.
    const fn none() -> Self {
        Self {
            id: CorrelationId::of_uuid(0, 0),
            span: InSpan::none(),
            is_on: false,
        }
    }

    /// The ID; `None` if a standard stack leaves it out.
    #[must_use]
    pub fn id(&self) -> Option<&CorrelationId> {
        self.is_on.then_some(&self.id)
    }

    /// Runs a closure within this scope, for a lazy [`Reply`].
    pub fn sync_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        run()
    }

    /// Opens the span in place, and enters without a borrow. Moving the ID, which has just been
    /// written, would stall the processor.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn begin<D>(
        &mut self,
        side: Side,
        layer: &CorrelationLayer<D>,
    ) -> (CorrelationScope, OwnedEntered) {
        if !self.is_on {
            return (CorrelationScope::unchanged(), self.span.enter_owned());
        }
        if span::are_wanted() {
            self.span = InSpan::of_request(side, self.id.clone(), layer.instance.as_ref());
        }
        let id = CorrelationScope::enter(Some(&self.id));
        (id, self.span.enter_owned())
    }
}

impl Scope for InCorrelation {
    type Entered<'a> = (CorrelationScope, <InSpan as Scope>::Entered<'a>);

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> Self::Entered<'_> {
        let id = if self.is_on {
            CorrelationScope::enter(Some(&self.id))
        } else {
            CorrelationScope::unchanged()
        };
        (id, self.span.enter())
    }
}

impl fmt::Debug for InCorrelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InCorrelation").field(&self.id()).finish()
    }
}

pin_project! {
    /// The future of a server's call, which writes the ID to the response.
    #[must_use = "futures do nothing unless polled"]
    pub struct EchoFuture<F> {
        #[pin]
        inner: Scoped<InnerFuture<F>, InCorrelation>,
        fields: Fields,
        encoded: Encoded,
    }
}

impl<F, Res, E> Future for EchoFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    E: 'static,
    Res: Reply,
{
    type Output = Result<Res::InContext, E>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match ready!(this.inner.as_mut().poll(cx)) {
            Ok(mut response) => {
                // The inner future has completed, so nothing runs in its scope any more.
                let scope = mem::replace(this.inner.scope(), InCorrelation::none());
                if let Some(id) = scope.id() {
                    this.fields.write(&mut response, id, Some(this.encoded));
                }
                Poll::Ready(Ok(response.in_context(scope)))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<F> fmt::Debug for EchoFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoFuture").finish_non_exhaustive()
    }
}

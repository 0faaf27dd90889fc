use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::{Client, Consumer, CorrelationLayer, Fields, Server};
use super::{Carry, CorrelationId};
use crate::context::{self, CorrelationScope};
use crate::runtime::stamp;
use crate::scoped::{Scope, Scoped};

/// A service behind a [`CorrelationLayer`](crate::CorrelationLayer).
#[derive(Debug, Clone)]
pub struct Correlation<S, D = Server> {
    pub(super) inner: S,
    pub(super) layer: CorrelationLayer<D>,
}

impl<S, D> Correlation<S, D> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, without the correlation ID.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The ID that came with a request, or a new one. What is inside must not see one that was refused.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn receive(&self, request: &mut impl Carry) -> InCorrelation {
        let (fields, trusts) = (&self.layer.fields, self.layer.trusts);
        InCorrelation::new(fields.settle(request, trusts, new_id))
    }
}

#[cold]
fn new_id() -> CorrelationId {
    let (millis, random) = stamp();
    CorrelationId::new(millis, random)
}

impl<S, Req> Service<Req> for Correlation<S, Server>
where
    S: Service<Req>,
    S::Response: Carry,
    Req: Carry,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = EchoFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let scope = self.receive(&mut request);
        let fields = self.layer.fields.clone();
        // Not borrowed from the scope, so that the future can be made where it is to be.
        let _entered = scope.enter_owned();
        EchoFuture {
            inner: Scoped::new(self.inner.call(request), scope),
            fields,
        }
    }
}

impl<S, Req> Service<Req> for Correlation<S, Consumer>
where
    S: Service<Req>,
    Req: Carry,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let scope = Some(self.receive(&mut request));
        let _entered = scope.as_ref().map(InCorrelation::enter_owned);
        Scoped::new(self.inner.call(request), scope)
    }
}

impl<S, Req> Service<Req> for Correlation<S, Client>
where
    S: Service<Req>,
    Req: Carry,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let scope = match context::correlation_id() {
            Some(id) => {
                self.layer.fields.write(&mut request, &id);
                None
            }
            None => Some(self.receive(&mut request)),
        };
        let _entered = scope.as_ref().map(InCorrelation::enter_owned);
        Scoped::new(self.inner.call(request), scope)
    }
}

/// The future of a call within a correlation ID.
pub type ResponseFuture<F> = Scoped<F, Option<InCorrelation>>;

/// What is entered while a request is worked on: its ID in the context, and the span that carries it.
pub struct InCorrelation {
    id: CorrelationId,
    /// `None` where nobody wants it: entering even a disabled span costs more than the whole layer.
    #[cfg(feature = "tracing")]
    span: Option<Box<tracing::Span>>,
}

impl InCorrelation {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn new(id: CorrelationId) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: span(&id),
            id,
        }
    }
}

#[cfg(feature = "tracing")]
type OwnedEntered = Option<tracing::span::EnteredSpan>;
#[cfg(not(feature = "tracing"))]
type OwnedEntered = ();

impl InCorrelation {
    /// The same as [`enter`](Scope::enter), without borrowing.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter_owned(&self) -> (CorrelationScope, OwnedEntered) {
        let scope = CorrelationScope::enter(Some(&self.id));
        #[cfg(feature = "tracing")]
        let span = self.span.as_deref().map(|span| span.clone().entered());
        #[cfg(not(feature = "tracing"))]
        let span = ();
        (scope, span)
    }
}

#[cfg(feature = "tracing")]
#[inline]
fn span(id: &CorrelationId) -> Option<Box<tracing::Span>> {
    if !tracing::level_enabled!(tracing::Level::INFO) {
        return None;
    }
    Some(tracing::info_span!("request", correlation_id = %id))
        .filter(|span| !span.is_disabled())
        .map(Box::new)
}

#[cfg(feature = "tracing")]
type SpanEntered<'a> = Option<tracing::span::Entered<'a>>;
#[cfg(not(feature = "tracing"))]
type SpanEntered<'a> = std::marker::PhantomData<&'a ()>;

impl Scope for InCorrelation {
    type Entered<'a> = (CorrelationScope, SpanEntered<'a>);

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> Self::Entered<'_> {
        let scope = CorrelationScope::enter(Some(&self.id));
        #[cfg(feature = "tracing")]
        let span = self.span.as_deref().map(tracing::Span::enter);
        #[cfg(not(feature = "tracing"))]
        let span = std::marker::PhantomData;
        (scope, span)
    }
}

impl Scope for Option<InCorrelation> {
    type Entered<'a> = Option<(CorrelationScope, SpanEntered<'a>)>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> Self::Entered<'_> {
        self.as_ref().map(Scope::enter)
    }
}

impl fmt::Debug for InCorrelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InCorrelation").field(&self.id).finish()
    }
}

pin_project! {
    /// The future of a server's call, whose response carries the ID back.
    #[must_use = "futures do nothing unless polled"]
    pub struct EchoFuture<F> {
        #[pin]
        inner: Scoped<F, InCorrelation>,
        fields: Fields,
    }
}

impl<F, Res, E> Future for EchoFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Carry,
{
    type Output = Result<Res, E>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut result = ready!(this.inner.as_mut().poll(cx));
        if let Ok(response) = &mut result {
            this.fields.write(response, &this.inner.scope().id);
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for EchoFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoFuture").finish_non_exhaustive()
    }
}

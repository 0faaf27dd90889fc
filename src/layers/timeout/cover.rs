//! What becomes of a response: the core leaves it alone, an adapter may follow its body.

use std::fmt;
use std::task::Context;
use std::time::Duration;

use super::future::Until;
use crate::observe::emitter::Emitter;
use crate::runtime::Moment;
use crate::runtime::shared::Held;
use crate::vocabulary::sealed::Sealed;

/// What a time limit does with the response of a call that was answered in time.
///
/// The layer knows no protocol: what of a response is still to come, only an adapter can say. [`HeadOnly`] is for all others.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot limit a response of type `{Res}`",
    label = "this time limit is for responses of another type",
    note = "`mainstay::http::timeout()` is for services that answer with `http::Response`; for others, a client of reqwest among them, use `mainstay::TimeoutLayer::new(..)`",
    note = "the body of the response must be `Unpin`, `Send` and `'static`; one that is not `Unpin` is, in a box: `ServiceBuilder::map_response(|response: http::Response<_>| response.map(axum::body::Body::new))` inside of the layer or the standard stack"
)]
pub trait Cover<Res>: Sealed {
    /// What the response becomes.
    type Response;

    /// The same for one call, which is to be done by then whatever the layer's own limit is.
    #[must_use]
    fn begin(self, asked: Asked) -> Self
    where
        Self: Sized;

    /// Takes over the response, in the task that polls the call.
    fn cover(&self, response: Res, call: &Answered<'_>, cx: &mut Context<'_>) -> Self::Response;
}

/// The deadline that a call comes with, whatever the layer's own limit is: the context's, or what the request asks for. Default limits
/// that nobody set are not part of it.
#[derive(Debug, Clone, Copy)]
pub struct Asked(pub(crate) Moment);

impl Asked {
    /// What is left until then; `None` when nobody asks for anything.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0.remaining()
    }
}

/// A call that was answered in time.
pub struct Answered<'a> {
    pub(crate) until: Until,
    pub(crate) emitter: &'a Held<Emitter>,
}

impl Answered<'_> {
    /// What is left of the time limit; `None` when there is none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.until.now().local().remaining()
    }
}

impl fmt::Debug for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered")
            .field("name", &self.emitter.name())
            .finish_non_exhaustive()
    }
}

/// Leaves responses alone: the time limit ends at them.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadOnly;

impl Sealed for HeadOnly {}

impl<Res> Cover<Res> for HeadOnly {
    type Response = Res;

    #[inline]
    fn begin(self, _: Asked) -> Self {
        self
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn cover(&self, response: Res, _: &Answered<'_>, _: &mut Context<'_>) -> Res {
        response
    }
}

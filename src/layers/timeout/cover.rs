//! The response of a call with a time limit. An adapter may limit its body, too.

use std::fmt;
use std::task::Context;
use std::time::Duration;

use super::future::Until;
use super::limits::{InForce, TimeLimits};
use crate::runtime::Moment;
use crate::runtime::shared::Held;
use crate::vocabulary::sealed::Sealed;

/// Extends a time limit to the rest of a response, such as its body.
///
/// The layer knows no protocol, so an adapter implements this. [`HeadOnly`] is the default: the
/// limit ends at the response.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot limit a response of type `{Res}`",
    label = "this time limit is for responses of another type",
    note = "`mainstay::http::timeout()` is for services that answer with `http::Response`; for others, a client of reqwest among them, use `mainstay::TimeoutLayer::new(..)`",
    note = "the body of the response must be `Unpin`, `Send` and `'static`; one that is not `Unpin` is, in a box: `ServiceBuilder::map_response(|response: http::Response<_>| response.map(axum::body::Body::new))` inside of the layer or the standard stack"
)]
pub trait Cover<Res>: Sealed {
    /// The response that the caller gets.
    type Response;

    /// The copy for one call, with the deadline that the call came with.
    #[must_use]
    fn begin(self, asked: Asked<'_>) -> Self
    where
        Self: Sized;

    /// Converts the response, in the task that polls the call.
    fn cover(&self, response: Res, call: &Answered<'_>, cx: &mut Context<'_>) -> Self::Response;
}

/// The deadline that a call came with: the context's, or the request's own. Neither the layer's own
/// limit nor default limits are part of it.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "only bodies need the rest")
)]
pub struct Asked<'a> {
    pub(crate) deadline: Moment,
    /// Whether the call has a time limit of its own: see [`Overrides`](crate::Overrides).
    pub(crate) is_overridden: bool,
    /// The limits of the layer.
    pub(crate) in_force: InForce,
    pub(crate) limits: &'a TimeLimits,
}

impl Asked<'_> {
    /// The time left until the deadline; `None` without one.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.remaining()
    }
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// A call that was answered in time.
pub struct Answered<'a> {
    pub(crate) until: Until,
    pub(crate) limits: &'a Held<TimeLimits>,
}

impl Answered<'_> {
    /// The time left of the limit; `None` without one.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.until.now().local().remaining()
    }
}

impl fmt::Debug for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered")
            .field("name", &self.limits.emitter.name())
            .finish_non_exhaustive()
    }
}

/// Leaves responses unchanged: the time limit ends at the response.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadOnly;

impl Sealed for HeadOnly {}

impl<Res> Cover<Res> for HeadOnly {
    type Response = Res;

    #[inline]
    fn begin(self, _: Asked<'_>) -> Self {
        self
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn cover(&self, response: Res, _: &Answered<'_>, _: &mut Context<'_>) -> Res {
        response
    }
}

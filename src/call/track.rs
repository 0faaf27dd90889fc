//! When a call is over: at its response, or only at the end of what the response carries.
//!
//! A layer holds something for every call: a place in a bulkhead, a probe of a circuit breaker, a
//! sample of a limit. For most protocols the call ends with the response. For HTTP and gRPC the
//! outcome can stand in the trailers, and the work goes on until the body has been read. The layers
//! know no protocol, so they ask a [`Track`]: [`AtResponse`] here, and one that follows bodies in `http`.

use crate::call::permit::Held;
use crate::vocabulary::outcome::{Classify, Verdict};

/// What a layer holds for one call.
///
/// Two events end it, and they are not the same: [`settle`](Settle::settle) says how the call went;
/// dropping gives back what was held. A guard that is dropped unsettled counts as cancelled.
pub trait Settle: Sized {
    /// Says how the call went. Only the first verdict counts.
    fn settle(&mut self, verdict: Verdict);

    /// Whether it still holds something when it is settled.
    fn holds(&self) -> bool;

    /// The same without the type, to be kept with a response.
    fn into_held(self) -> Held;
}

/// What can be said of a call when its result arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head<P> {
    /// How it went is known.
    Final(Verdict),
    /// It depends on what follows; `P` is what must be remembered until then.
    Pending(P),
}

/// How the responses of a service are judged, and how long a call lasts.
///
/// [`AtResponse`] is the default and leaves the response type alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow a response of type `{Res}`",
    label = "this layer follows the responses of another protocol",
    note = "layers that begin in `mainstay::http` or `mainstay::grpc` are for services that answer with `http::Response` or, with mainstay's feature `reqwest`, `reqwest::Response`",
    note = "for other services, begin with the layer itself: `mainstay::CircuitBreakerLayer::builder()`, `mainstay::BulkheadLayer::builder()`, `mainstay::LoadShedLayer::builder()`"
)]
pub trait Track<Res, Err> {
    /// What must be remembered of a head that does not decide.
    type Pending;

    /// The response, with whatever is attached to it.
    type Response;

    /// Judges a result as it arrives. An error is always final: `Pending` for one counts as a failure.
    fn head(&self, result: Result<&Res, &Err>) -> Head<Self::Pending>;

    /// Takes the guard and attaches it to the response, so that it is settled (if `pending`) and dropped when the
    /// call is over.
    fn attach<G: Settle>(
        response: Res,
        pending: Option<Self::Pending>,
        guard: &mut Option<G>,
    ) -> Self::Response;
}

/// A call is over when its response is there, and a [`Classify`] says how it went.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtResponse<C = crate::vocabulary::outcome::ErrorsFail>(pub(crate) C);

impl<C> AtResponse<C> {
    /// Judges responses and errors by this classifier.
    #[must_use]
    pub const fn new(classifier: C) -> Self {
        Self(classifier)
    }
}

impl<C, Res, Err> Track<Res, Err> for AtResponse<C>
where
    C: Classify<Res, Err>,
{
    type Pending = std::convert::Infallible;
    type Response = Res;

    #[inline]
    fn head(&self, result: Result<&Res, &Err>) -> Head<Self::Pending> {
        Head::Final(self.0.classify(result))
    }

    #[inline]
    fn attach<G: Settle>(response: Res, _: Option<Self::Pending>, guard: &mut Option<G>) -> Res {
        *guard = None;
        response
    }
}

//! When a call is over: at its response, or at the end of the response's body.
//!
//! A layer holds a permit, a probe or a sample for each call. For most protocols the call ends with
//! the response. For HTTP and gRPC the outcome can be in the trailers, and the work lasts until the
//! body has been read. Layers know no protocol, so they ask a [`Track`]: [`AtResponse`] here, or
//! the one in `http` that follows bodies.

use crate::call::permit::ErasedPermit;
use crate::vocabulary::outcome::{Classify, Verdict};
use crate::vocabulary::sealed::Sealed;

/// The permit of one call.
///
/// Two separate events end it: [`settle`](Settle::settle) records the outcome, and dropping
/// releases the permit. A call that is dropped unsettled counts as cancelled.
///
/// This trait is sealed: only mainstay implements it.
pub trait Settle: Sealed + Sized {
    /// Records the outcome. Only the first verdict counts.
    fn settle(&mut self, verdict: Verdict);

    /// Whether there is still a permit to release once it is settled.
    fn holds_permit(&self) -> bool;

    /// The same permit without its type, to be attached to a response.
    fn erase(self) -> ErasedPermit;
}

/// The verdict on a result as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head<P> {
    /// The outcome is known.
    Final(Verdict),
    /// The outcome depends on what follows. `P` is the state needed until then.
    Pending(P),
}

/// Classifies the responses of a service, and decides how long a call lasts.
///
/// [`AtResponse`] is the default and leaves the response type alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow a response of type `{Res}`",
    label = "this layer follows the responses of another protocol",
    note = "layers that begin in `mainstay::http` or `mainstay::grpc` are for services that answer with `http::Response` or, with mainstay's feature `reqwest`, `reqwest::Response`",
    note = "for other services, begin with the layer itself: `mainstay::CircuitBreakerLayer::builder()`, `mainstay::BulkheadLayer::builder()`, `mainstay::LoadShedLayer::builder()`"
)]
pub trait Track<Res, Err> {
    /// The state needed after a head that does not decide.
    type Pending;

    /// The response with the permit attached.
    type Response;

    /// Classifies a result. An error is always final: `Pending` for one counts as a failure.
    fn head(&self, result: Result<&Res, &Err>) -> Head<Self::Pending>;

    /// Moves the guard into the response, where it is settled (if `pending`) and dropped when the
    /// call is over.
    fn attach<G: Settle>(
        response: Res,
        pending: Option<Self::Pending>,
        guard: &mut Option<G>,
    ) -> Self::Response;
}

/// Ends a call at its response, with the verdict of a [`Classify`].
#[derive(Debug, Clone, Copy, Default)]
pub struct AtResponse<C = crate::vocabulary::outcome::ErrorsFail>(pub(crate) C);

impl<C> AtResponse<C> {
    /// Uses this classifier.
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

//! How a standard stack judges responses: as its protocol does by itself, or as the builder of a layer says.

use super::refine::{StackBreaker, StackLoadShed};
use crate::circuit_breaker::CircuitBreakerBuilder;
use crate::http::{ClassifyEnd, EndOfBody};
use crate::load_shed::LoadShedBuilder;
use crate::{AtResponse, Limit};

/// What refines the layer of a standard stack by which the stack judges responses: the load shedder of a server, the circuit breaker of a client. It is what
/// [`Refine`](super::Refine) is for the others; `D` is the stack's own judgement.
///
/// A builder that judges in another way brings its classifier along, and the type of the stack names it: see [how a stack judges](super#how-a-stack-judges).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not refine this layer of a standard stack",
    note = "it takes a builder of the layer, before `build()`: `mainstay::http::circuit_breaker().open_for(...)`, say; a load shedder also takes a `Limit`"
)]
pub trait RefineJudging<L, D> {
    /// What the stack judges by then.
    type Classifier: Clone;

    /// The refined layer, and what the stack judges by; `default` and `classifier` are what it has by itself.
    #[doc(hidden)]
    fn refine(self, default: L, classifier: D) -> (L, Self::Classifier);
}

impl<D: Clone> RefineJudging<StackLoadShed, D> for Limit {
    type Classifier = D;

    fn refine(self, default: StackLoadShed, classifier: D) -> (StackLoadShed, D) {
        (default.limit(self), classifier)
    }
}

macro_rules! builders {
    ($($layer:ident is $builder:ident;)*) => {$(
        impl<T: Judgement<D>, D> RefineJudging<$layer, D> for $builder<T> {
            type Classifier = T::Classifier;

            fn refine(self, _: $layer, classifier: D) -> ($layer, T::Classifier) {
                let classifier = self.tracker.or(classifier);
                (self.retracked(drop), classifier)
            }
        }
    )*};
}

builders! {
    StackLoadShed is LoadShedBuilder;
    StackBreaker is CircuitBreakerBuilder;
}

/// What a standard stack can judge responses by, and follow them to the end of their bodies; `D` is what it judges by where nothing is said of it.
#[diagnostic::on_unimplemented(
    message = "a standard stack cannot judge responses by a `{Self}`",
    note = "it takes `classify_head(|head| ...)`, or `tracker(EndOfBody::new(classifier))` with a `ClassifyEnd` that is `Clone`; for any other, put the layers together by hand"
)]
pub trait Judgement<D> {
    /// What it judges by.
    type Classifier: Clone;

    #[doc(hidden)]
    fn or(&self, default: D) -> Self::Classifier;
}

/// Nothing was said of it.
impl<D: Clone> Judgement<D> for AtResponse {
    type Classifier = D;

    fn or(&self, default: D) -> D {
        default
    }
}

impl<C: ClassifyEnd + Clone, D> Judgement<D> for EndOfBody<C> {
    type Classifier = C;

    fn or(&self, _: D) -> C {
        self.0.clone()
    }
}

//! The scope of an attempt.

use std::pin::Pin;

use crate::observe::span::InSpan;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::context::{Attempt, AttemptScope};

/// The number of the attempt in the context, and (feature `tracing`) its span.
pub(super) struct InAttempt {
    attempt: Attempt,
    span: InSpan,
}

impl Scope for InAttempt {
    type Entered<'a> = (AttemptScope, <InSpan as Scope>::Entered<'a>);

    fn enter(&self) -> Self::Entered<'_> {
        (self.attempt.enter(), self.span.enter())
    }
}

/// An attempt with a span. Boxed, because few calls have one, and all futures would grow.
pub(super) type Traced<F> = Pin<Box<Scoped<F, InAttempt>>>;

/// Makes a call in this span. Inlined although rare: see `Phase::another`.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(super) fn traced<F>(attempt: Attempt, span: InSpan, call: impl FnOnce() -> F) -> Traced<F> {
    let scope = InAttempt { attempt, span };
    let entered = scope.enter();
    let call = call();
    drop(entered);
    Box::pin(Scoped::new(call, scope))
}

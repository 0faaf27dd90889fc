//! What an attempt runs in.

use std::pin::Pin;

use crate::observe::span::InSpan;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::context::{Attempt, AttemptScope};

/// The number of the attempt in the context, and (feature `tracing`) a span that carries it.
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

/// An attempt that somebody wants a span of. In a box: the future of a call has no room for what hardly any call has.
pub(super) type Traced<F> = Pin<Box<Scoped<F, InAttempt>>>;

/// Makes a call in this span. Inlined though it is rare, as what calls it.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(super) fn traced<F>(attempt: Attempt, span: InSpan, call: impl FnOnce() -> F) -> Traced<F> {
    let scope = InAttempt { attempt, span };
    let entered = scope.enter();
    let call = call();
    drop(entered);
    Box::pin(Scoped::new(call, scope))
}

//! A future that is polled and dropped within a scope.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// A scope that can be entered, such as a task-local value or a span.
pub(crate) trait Scope {
    /// Leaves the scope when it is dropped.
    type Entered<'a>
    where
        Self: 'a;

    /// Enters the scope.
    fn enter(&self) -> Self::Entered<'_>;
}

impl<S: Scope> Scope for Option<S> {
    type Entered<'a>
        = Option<S::Entered<'a>>
    where
        S: 'a;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> Self::Entered<'_> {
        // With the method's path instead of a closure, Rust 1.88 reports that `S` does not live
        // long enough.
        self.as_ref().map(|scope| scope.enter())
    }
}

pin_project! {
    /// A future that is polled and dropped within a scope.
    pub(crate) struct Scoped<F, S>
    where
        S: Scope,
    {
        // `None` once completed, so that it is dropped within the scope then, too.
        #[pin]
        future: Option<F>,
        scope: S,
    }

    impl<F, S> PinnedDrop for Scoped<F, S>
    where
        S: Scope,
    {
        #[cfg_attr(not(debug_assertions), inline(always))]
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.future.is_some() {
                drop_within(this.future, this.scope);
            }
        }
    }
}

/// Drops a future that has not completed.
#[cold]
fn drop_within<F>(mut future: Pin<&mut Option<F>>, scope: &impl Scope) {
    let _entered = scope.enter();
    future.set(None);
}

impl<F, S: Scope> Scoped<F, S> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn new(future: F, scope: S) -> Self {
        Self {
            future: Some(future),
            scope,
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn scope(self: Pin<&mut Self>) -> &mut S {
        self.project().scope
    }
}

impl<F: Future, S: Scope> Future for Scoped<F, S> {
    type Output = F::Output;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _entered = this.scope.enter();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            // Polled after it completed.
            return Poll::Pending;
        };
        let polled = future.poll(cx);
        if polled.is_ready() {
            this.future.set(None);
        }
        polled
    }
}

impl<F, S: Scope> fmt::Debug for Scoped<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}

//! Tasks that keep the context of the request that started them.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::observe::span::InSpan;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::context::Context;

/// [`tokio::spawn`], with the current [`Context`] and (feature `tracing`) the current span carried into the new task: its log lines
/// stand under the same correlation ID.
///
/// ```
/// # use mainstay::Context;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let context = Context::current().with_correlation_id("order-4711".parse().unwrap());
/// context.scope(async {
///     let id = mainstay::spawn(async { Context::current().correlation_id().cloned() });
///     assert_eq!(id.await.unwrap().unwrap().to_string(), "order-4711");
/// }).await;
/// # }
/// ```
///
/// The span stays open until the task has ended. The deadline is carried along, but nothing ends the task when it has passed.
///
/// # Panics
///
/// Outside of a tokio runtime, as [`tokio::spawn`] does.
///
/// # Cancellation
///
/// Dropping the handle leaves the task running, as with [`tokio::spawn`].
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scoped::new(future, Task::current()))
}

/// [`tokio::task::spawn_blocking`], with the current [`Context`] and (feature `tracing`) the current span carried along, as by
/// [`spawn`].
///
/// ```
/// # use mainstay::Context;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let context = Context::current().with_correlation_id("order-4711".parse().unwrap());
/// context.scope(async {
///     let id = mainstay::spawn_blocking(|| Context::current().correlation_id().cloned());
///     assert_eq!(id.await.unwrap().unwrap().to_string(), "order-4711");
/// }).await;
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime, as [`tokio::task::spawn_blocking`] does.
///
/// # Cancellation
///
/// Nothing ends the closure once it runs: not dropping the handle, and not the deadline.
#[track_caller]
pub fn spawn_blocking<F, R>(run: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let task = Task::current();
    tokio::task::spawn_blocking(move || {
        let _entered = task.enter();
        run()
    })
}

/// What a new task takes along, and what runs for a request in a task that is nobody's.
pub(crate) struct Task {
    context: Context,
    span: InSpan,
}

impl Task {
    pub(crate) fn current() -> Self {
        Self {
            context: Context::current(),
            span: InSpan::current(),
        }
    }
}

impl Scope for Task {
    type Entered<'a> = (
        <Context as Scope>::Entered<'a>,
        <InSpan as Scope>::Entered<'a>,
    );

    fn enter(&self) -> Self::Entered<'_> {
        (self.context.enter(), self.span.enter())
    }
}

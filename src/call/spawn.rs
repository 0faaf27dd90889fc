//! Tasks that inherit the context of the request that started them.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::observe::span::InSpan;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::context::Context;

/// Spawns a task that inherits the current [`Context`] and (feature `tracing`) the current span.
///
/// Like [`tokio::spawn`]; log lines of the task have the correlation ID of the request.
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
/// The span stays open until the task has ended. The task also inherits the deadline, but nothing
/// ends the task when the deadline passes.
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

/// Runs a blocking closure that inherits the current [`Context`] and (feature `tracing`) the
/// current span: [`spawn`] for [`tokio::task::spawn_blocking`].
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
/// Neither dropping the handle nor the deadline ends a closure that runs.
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

/// The context and the span that a new task inherits.
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

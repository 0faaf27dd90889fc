//! Models of the code in which threads meet without one lock around everything.
//!
//! loom runs a model once for each interleaving of its threads, and for each value that the memory
//! model lets a load see. `tests/models` builds the library with its atomics and locks and runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use crate::{layers, observe, policy, runtime};

/// A model's name, and a run through all of its executions that returns their number.
pub type Model = (&'static str, fn() -> usize);

/// All models.
pub fn all() -> impl Iterator<Item = Model> {
    [
        runtime::striped::models::MODELS,
        runtime::shared::models::MODELS,
        policy::rate_limit::models::MODELS,
        observe::emitter::models::MODELS,
        layers::bulkhead::models::MODELS,
        layers::circuit_breaker::models::MODELS,
        layers::rate_limit::models::MODELS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The models of a file: the functions with these names.
macro_rules! models {
    ($($model:ident),+ $(,)?) => {
        pub(crate) const MODELS: &[$crate::models::Model] = &[$((
            stringify!($model),
            || $crate::models::explore($model),
        )),+];
    };
}
pub(crate) use models;

/// Runs a model in all executions that switch at most twice from a thread that could go on: enough
/// for nearly all faults. `LOOM_MAX_PREEMPTIONS` sets another number.
pub(crate) fn explore(model: fn()) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = explorer.preemption_bound.or(Some(2));
    explorer.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    executions.load(Ordering::Relaxed)
}

/// A waker of the current thread, which parks.
pub(crate) fn waker() -> Waker {
    struct Unpark(loom::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    Waker::from(Arc::new(Unpark(loom::thread::current())))
}

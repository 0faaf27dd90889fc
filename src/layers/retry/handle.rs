use std::fmt;
use std::sync::{Arc, Weak};

use super::budget::{RetryBudget, WeakBudget};
use super::layer::Core;
use super::snapshot::{Snapshot, Stats};
use crate::layers::handle::Handle;
use crate::observe::emitter::Emitter;
use crate::observe::event::Events;

/// Inspects a retry, for example from an admin endpoint or a test.
///
/// A handle keeps the counts and the budget of the layer, but not its services. Clones share them.
///
/// ```
/// use mainstay::RetryLayer;
///
/// let retry = RetryLayer::new().handle();
/// assert!(retry.budget().unwrap().balance() > 0);
/// println!("{}", retry.snapshot());
/// ```
#[derive(Clone)]
pub struct RetryHandle {
    stats: Arc<Stats>,
    budget: Option<RetryBudget>,
}

impl RetryHandle {
    pub(super) fn new<P, R>(core: &Core<P, R>) -> Self {
        Self {
            stats: Arc::clone(&core.stats),
            budget: core.settings.budget.clone(),
        }
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        self.stats.emitter.name()
    }

    /// The budget, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    /// Counts of retries and refusals, and the balance of the budget.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.stats, self.budget.as_ref())
    }

    /// Subscribes to the events of this instance.
    #[must_use]
    pub fn events(&self) -> Events {
        self.stats.emitter.subscribe()
    }
}

impl Handle for RetryHandle {
    type Weak = (Weak<Stats>, Option<WeakBudget>);

    fn emitter(&self) -> &Emitter {
        &self.stats.emitter
    }

    fn downgrade(&self) -> Self::Weak {
        let budget = self.budget.as_ref().map(RetryBudget::downgrade);
        (Arc::downgrade(&self.stats), budget)
    }

    fn upgrade((stats, budget): &Self::Weak) -> Option<Self> {
        let budget = match budget {
            Some(budget) => Some(budget.upgrade()?),
            None => None,
        };
        Some(Self {
            stats: stats.upgrade()?,
            budget,
        })
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryHandle")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

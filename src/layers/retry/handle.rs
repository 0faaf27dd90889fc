use std::fmt;
use std::sync::{Arc, Weak};

use super::budget::RetryBudget;
use super::settings::Settings;
use super::snapshot::Stats;
use crate::layers::handle::{Handle, handle_methods};
use crate::observe::emitter::Emitter;

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
    state: Arc<Stats>,
}

handle_methods! {
    RetryHandle of Stats;
    /// Counts of retries and refusals, and the balance of the budget.
    snapshot
    ///
    /// A call in flight uses the new settings from its next attempt on. The budget keeps its
    /// entries. Layers that share a [`RetryBudget`] share its settings: an update of one changes them
    /// for all.
    ///
    /// ```
    /// use mainstay::RetryLayer;
    ///
    /// let retry = RetryLayer::new().handle();
    /// let changes = retry.change(|settings| settings.attempts = 5)?;
    /// assert_eq!(changes.to_string(), "attempts: 3 -> 5");
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    update Settings
}

impl RetryHandle {
    pub(super) fn new(state: &Arc<Stats>) -> Self {
        Self {
            state: Arc::clone(state),
        }
    }

    /// Whether the policy ever retries.
    pub(crate) fn can_retry(&self) -> bool {
        self.state.can_retry()
    }

    /// The budget, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.state.budget()
    }
}

impl Handle for RetryHandle {
    type Weak = Weak<Stats>;

    fn emitter(&self) -> &Emitter {
        &self.state.emitter
    }

    fn downgrade(&self) -> Self::Weak {
        Arc::downgrade(&self.state)
    }

    fn upgrade(state: &Self::Weak) -> Option<Self> {
        state.upgrade().map(|state| Self { state })
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryHandle")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

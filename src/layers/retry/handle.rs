use super::budget::RetryBudget;
use super::settings::Settings;
use super::snapshot::Stats;
use crate::layers::handle::keyed_handle;
use crate::layers::keyed::Target;

keyed_handle! {
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
    ///
    /// With a budget for each [key](crate::keyed), the handle of the layer is about all of them, and
    /// [`key`](Self::key) returns the handle of one. [`budget`](Self::budget) then returns
    /// `None`, unless all keys share a [`RetryBudget`] of yours.
    pub struct RetryHandle of Stats;
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
    /// Whether the policy ever retries.
    pub(crate) fn can_retry(&self) -> bool {
        match &self.target {
            Target::One(stats) => stats.can_retry(),
            Target::Group(group) => group.fixed().can_retry,
        }
    }

    /// The budget, if there is one. For the handle of all keys it is the [`RetryBudget`] that the
    /// layer was given. Otherwise that handle returns `None`: each key has its own, which the handle
    /// of the [key](Self::key) returns. [`snapshot`](Self::snapshot) has the lowest balance, and
    /// [`settings`](Self::settings) has the settings of all budgets.
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        match &self.target {
            Target::One(stats) => stats.budget(),
            Target::Group(group) => group.fixed().shared_budget(&group.settings()),
        }
    }
}

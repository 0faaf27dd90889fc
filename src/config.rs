//! What `build()` says about a setting it cannot accept.

use std::fmt;

/// A setting that a builder refused: which field, the value it had, and the rule it broke.
///
/// Every builder in this crate checks all of its settings, and the settings against each other, in
/// `build()`. What `build()` accepts can neither panic nor wedge a call later.
///
/// ```
/// use mainstay::BulkheadLayer;
///
/// let error = BulkheadLayer::builder().limit(0).build().unwrap_err();
/// assert_eq!(error.field(), "limit");
/// assert_eq!(error.to_string(), "bulkhead: limit = 0 is refused: must be from 1 to 16777215");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    component: &'static str,
    field: &'static str,
    value: String,
    rule: String,
}

impl ConfigError {
    pub(crate) fn new(
        component: &'static str,
        field: &'static str,
        value: impl fmt::Display,
        rule: impl Into<String>,
    ) -> Self {
        Self {
            component,
            field,
            value: value.to_string(),
            rule: rule.into(),
        }
    }

    /// What was being built: `bulkhead`, `circuit breaker`, ...
    #[must_use]
    pub fn component(&self) -> &str {
        self.component
    }

    /// The name of the setting, as its setter is called; for one of a setter's several arguments, `setter.argument`.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }

    /// The value it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The rule it broke.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} = {} is refused: {}",
            self.component, self.field, self.value, self.rule
        )
    }
}

impl std::error::Error for ConfigError {}

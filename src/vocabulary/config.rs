//! The error of `build()` for a setting out of range.

use std::fmt;

use crate::vocabulary::name;

/// A setting that a builder refused: the instance, the field, its value, and the rule it breaks.
///
/// Every builder checks its settings, alone and against each other, in `build()`. Settings that
/// `build()` accepts never make a call panic or hang.
///
/// ```
/// use mainstay::BulkheadLayer;
///
/// let error = BulkheadLayer::builder().limit(0).build().unwrap_err();
/// assert_eq!(error.field(), "limit");
/// assert_eq!(error.to_string(), "bulkhead: limit = 0 is refused: must be from 1 to 16777215");
///
/// let error = BulkheadLayer::builder().name("payments").limit(0).build().unwrap_err();
/// assert_eq!(error.name(), Some("payments"));
/// assert_eq!(error.to_string(), "bulkhead `payments`: limit = 0 is refused: must be from 1 to 16777215");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    component: &'static str,
    /// Boxed, so that a `Result` with this error stays small.
    name: Option<Box<str>>,
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
            name: None,
            field,
            value: value.to_string(),
            rule: rule.into(),
        }
    }

    /// The kind of layer or stack: `bulkhead`, `circuit_breaker`, `http client`, ...
    #[must_use]
    pub fn component(&self) -> &str {
        self.component
    }

    /// The name of the layer or the standard stack; `None` if it was not set.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name of the setter, or `setter.argument` if the setter has several arguments.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }

    /// The refused value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The rule that the value breaks.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.component)?;
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        write!(
            f,
            ": {} = {} is refused: {}",
            self.field, self.value, self.rule
        )
    }
}

impl std::error::Error for ConfigError {}

/// Adds the name of the instance to a builder's error.
pub(crate) trait OfInstance {
    /// Adds a valid name to an error that has none. A refused name is the error's value already.
    fn of_instance(self, name: Option<&str>) -> Self;
}

impl<T> OfInstance for Result<T, ConfigError> {
    fn of_instance(self, name: Option<&str>) -> Self {
        self.map_err(|mut error| {
            if error.name.is_none() && error.field != "name" {
                error.name = name.filter(|name| name::is_valid(name)).map(Into::into);
            }
            error
        })
    }
}

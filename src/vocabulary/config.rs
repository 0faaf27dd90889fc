//! What `build()` says about a setting it cannot accept.

use std::fmt;

use crate::vocabulary::name;

/// A setting that a builder refused: of which instance, which field, the value it had, and the rule it broke.
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
///
/// let error = BulkheadLayer::builder().name("payments").limit(0).build().unwrap_err();
/// assert_eq!(error.name(), Some("payments"));
/// assert_eq!(error.to_string(), "bulkhead `payments`: limit = 0 is refused: must be from 1 to 16777215");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    component: &'static str,
    /// Apart from the rest, so that a result that carries one stays small.
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

    /// The kind of layer or stack that was being built: `bulkhead`, `circuit_breaker`, `http client`, ...
    #[must_use]
    pub fn component(&self) -> &str {
        self.component
    }

    /// The name of the instance that was being built: of the layer or the standard stack. `None` if it was not given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
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

/// What a builder returns, with the name of its instance.
pub(crate) trait OfInstance {
    /// Adds the name to an error that has none. A name that is itself refused is the value of its error.
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

//! Rules for single services or methods.

use crate::vocabulary::config::ConfigError;
use crate::vocabulary::grpc_name;

/// A list, because there are few rules.
#[derive(Debug, Clone)]
pub(crate) struct Rules<T>(Vec<Rule<T>>);

#[derive(Debug, Clone)]
struct Rule<T> {
    /// `service` or `service/method`.
    name: String,
    value: T,
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Rules<T> {
    /// Sets the rule for this name. `component` and `field` are for the error.
    pub(crate) fn set(
        &mut self,
        (component, field): (&'static str, &'static str),
        name: &str,
        value: T,
    ) -> Result<(), ConfigError> {
        grpc_name::check(component, field, name)?;
        let name = name.to_owned();
        self.0.retain(|rule| rule.name != name);
        self.0.push(Rule { name, value });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index of the most specific rule for a path, `/service/method`.
    #[inline]
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let names = grpc_name::of_path(path)?;
        let position = |name| self.0.iter().position(|rule| rule.name == name);
        names.into_iter().find_map(position)
    }

    pub(crate) fn get(&self, rule: usize) -> Option<&T> {
        self.0.get(rule).map(|rule| &rule.value)
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

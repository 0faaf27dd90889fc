//! Rules for single services or methods.

use crate::vocabulary::config::ConfigError;

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
        if !is_name(name) {
            let rule = "must be the name of a service (`shop.Orders`) or of a method (`shop.Orders/Create`)";
            return Err(ConfigError::new(component, field, name, rule));
        }
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
        let method = path.strip_prefix('/')?;
        let (service, _) = method.split_once('/')?;
        let position = |name| self.0.iter().position(|rule| rule.name == name);
        position(method).or_else(|| position(service))
    }

    pub(crate) fn get(&self, rule: usize) -> Option<&T> {
        self.0.get(rule).map(|rule| &rule.value)
    }

    /// All rules with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|rule| (rule.name.as_str(), &rule.value))
    }
}

fn is_name(name: &str) -> bool {
    let (service, method) = match name.split_once('/') {
        Some((service, method)) => (service, Some(method)),
        None => (name, None),
    };
    service.split('.').all(is_word) && method.is_none_or(is_word)
}

fn is_word(word: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    word.bytes().next().is_some_and(is_letter)
        && word
            .bytes()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

//! What holds for one service or method only.

use crate::vocabulary::config::ConfigError;

/// Few, so they are looked through.
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
    /// Sets what holds for this name. `component` and `field` are for the error.
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

    /// The number of the most specific rule for a path, `/service/method`.
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

    /// What a rule says.
    pub(crate) fn get(&self, rule: usize) -> Option<&T> {
        self.0.get(rule).map(|rule| &rule.value)
    }

    /// All of them, by their names.
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
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_rule_holds() {
        const FIELD: (&str, &str) = ("retry", "never");
        let mut rules = Rules::default();
        assert_eq!(rules.find("/shop.Orders/Create"), None);
        rules.set(FIELD, "shop.Orders", 1).unwrap();
        rules.set(FIELD, "shop.Orders/Create", 2).unwrap();
        rules.set(FIELD, "Root", 3).unwrap();
        let of =
            |rules: &Rules<u32>, path| rules.find(path).and_then(|rule| rules.get(rule).copied());
        assert_eq!(of(&rules, "/shop.Orders/Create"), Some(2));
        assert_eq!(of(&rules, "/shop.Orders/Get"), Some(1));
        assert_eq!(of(&rules, "/shop.Orders/CreateAll"), Some(1));
        assert_eq!(of(&rules, "/Root/Get"), Some(3));
        for other in [
            "/shop.OrdersOld/Create",
            "/shop/Orders",
            "/",
            "",
            "*",
            "shop.Orders/Create",
        ] {
            assert_eq!(of(&rules, other), None, "{other}");
        }
        // The later one of two for the same name.
        rules.set(FIELD, "shop.Orders/Create", 4).unwrap();
        assert_eq!(of(&rules, "/shop.Orders/Create"), Some(4));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["shop.Orders", "Orders", "a.b.C/D_2", "_a/_b"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "/",
            "/shop.Orders",
            "shop.Orders/",
            "/shop.Orders/Create",
            "shop.Orders/Create/Now",
            "shop..Orders",
            ".Orders",
            "shop.Orders.",
            "shop.1",
            "shop.*",
            "shop Orders",
            "shöp",
        ] {
            let error = Rules::default().set(("retry", "never"), name, ());
            assert_eq!(error.unwrap_err().field(), "never", "{name}");
        }
    }
}

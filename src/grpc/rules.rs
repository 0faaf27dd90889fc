//! What holds for one service or method only.

use super::code::Code;
use crate::ConfigError;
use crate::retry::LAYER;

/// Few, so they are looked through.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    /// `service` or `service/method`.
    name: String,
    /// `None`: never.
    codes: Option<Vec<Code>>,
}

impl Rules {
    pub(super) fn set(&mut self, name: &str, codes: Option<Vec<Code>>) -> Result<(), ConfigError> {
        if !is_name(name) {
            let rule = "must be the name of a service (`shop.Orders`) or of a method (`shop.Orders/Create`)";
            let field = if codes.is_some() {
                "codes_for"
            } else {
                "never"
            };
            return Err(ConfigError::new(LAYER, field, name, rule));
        }
        let name = name.to_owned();
        self.0.retain(|rule| rule.name != name);
        self.0.push(Rule { name, codes });
        Ok(())
    }

    /// The number of the most specific rule for a path, `/service/method`.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        if self.0.is_empty() {
            return None;
        }
        let method = path.strip_prefix('/')?;
        let (service, _) = method.split_once('/')?;
        let position = |name| self.0.iter().position(|rule| rule.name == name);
        position(method).or_else(|| position(service))
    }

    /// After which codes a rule retries, if ever.
    pub(super) fn codes(&self, rule: usize) -> Option<&[Code]> {
        self.0.get(rule)?.codes.as_deref()
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
        let mut rules = Rules::default();
        assert_eq!(rules.find("/shop.Orders/Create"), None);
        rules.set("shop.Orders", Some(vec![Code::Aborted])).unwrap();
        rules.set("shop.Orders/Create", None).unwrap();
        rules.set("Root", Some(vec![])).unwrap();
        let of = |rules: &Rules, path| {
            let rule = rules.find(path);
            rule.map(|rule| rules.codes(rule).map(<[_]>::to_vec))
        };
        assert_eq!(of(&rules, "/shop.Orders/Create"), Some(None));
        let aborted = Some(Some(vec![Code::Aborted]));
        assert_eq!(of(&rules, "/shop.Orders/Get"), aborted);
        assert_eq!(of(&rules, "/shop.Orders/CreateAll"), aborted);
        assert_eq!(of(&rules, "/Root/Get"), Some(Some(vec![])));
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
        rules.set("shop.Orders/Create", Some(vec![])).unwrap();
        assert_eq!(of(&rules, "/shop.Orders/Create"), Some(Some(vec![])));
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
            let error = Rules::default().set(name, None).unwrap_err();
            assert_eq!(error.field(), "never", "{name}");
        }
    }
}

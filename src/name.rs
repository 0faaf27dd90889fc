//! Who a decision came from: the kind of layer and the name of the instance.
//!
//! Names are interned when a layer is built, so that a rejection carries a plain reference: making
//! one and cloning it cost neither an allocation nor a reference count. What is interned stays for
//! the life of the process, which is why names are for the instances a program is written with
//! (`payments`, `users`), not for values that come with a request.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::ConfigError;

/// The longest name an instance may have, in bytes.
const LONGEST: usize = 64;

/// What an instance is called when it was not given a name.
const DEFAULT: &str = "default";

/// A layer instance: its kind (`circuit_breaker`) and its name (`payments`).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    layer: &'static str,
    name: &'static str,
}

impl Origin {
    /// An instance without a name of its own, usable in a `static`.
    pub(crate) const fn unnamed(layer: &'static str) -> Self {
        Self {
            layer,
            name: DEFAULT,
        }
    }

    pub(crate) const fn layer(&self) -> &'static str {
        self.layer
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.layer, self.name)
    }
}

/// The interned origin of a named instance, or why the name is refused.
pub(crate) fn origin(layer: &'static str, name: &str) -> Result<&'static Origin, ConfigError> {
    check(layer, name)?;
    Ok(intern(layer, name))
}

/// The interned origin for a name that may be anything: what a name may not contain is replaced.
pub(crate) fn origin_lossy(layer: &str, name: &str) -> &'static Origin {
    intern(intern_text(&clean(layer)), &clean(name))
}

fn clean(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(LONGEST)
        .collect();
    if text.is_empty() {
        DEFAULT.to_owned()
    } else {
        text
    }
}

fn check(component: &'static str, name: &str) -> Result<(), ConfigError> {
    let rule = if name.is_empty() {
        "must not be empty"
    } else if name.len() > LONGEST {
        "must be at most 64 bytes"
    } else if !name.chars().all(allowed) {
        "must be made of ASCII letters, digits and . _ : / -"
    } else {
        return Ok(());
    };
    // The value is shown shortened and escaped: it may be anything, and it may be long.
    let mut shown: String = name.chars().take(LONGEST).collect();
    if shown.len() < name.len() {
        shown.push_str("...");
    }
    Err(ConfigError::new(
        component,
        "name",
        format_args!("{shown:?}"),
        rule,
    ))
}

/// Names go into metric labels, headers and log lines: only what is plain in all of them.
fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-')
}

fn intern(layer: &'static str, name: &str) -> &'static Origin {
    static ORIGINS: Mutex<Option<HashSet<&'static Origin>>> = Mutex::new(None);
    let origin = Origin {
        layer,
        name: intern_text(name),
    };
    let mut origins = ORIGINS.lock().unwrap_or_else(PoisonError::into_inner);
    let origins = origins.get_or_insert_default();
    if let Some(known) = origins.get(&origin) {
        return known;
    }
    let origin: &'static Origin = Box::leak(Box::new(origin));
    origins.insert(origin);
    origin
}

fn intern_text(text: &str) -> &'static str {
    static TEXTS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let texts = texts.get_or_insert_default();
    if let Some(known) = texts.get(text) {
        return known;
    }
    let text: &'static str = Box::leak(text.into());
    texts.insert(text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_interned_once() {
        let a = origin("bulkhead", "payments").unwrap();
        let b = origin("bulkhead", "payments").unwrap();
        let c = origin("timeout", "payments").unwrap();
        assert!(std::ptr::eq(a, b));
        assert!(!std::ptr::eq(a, c));
        assert_eq!((c.layer(), c.name()), ("timeout", "payments"));
    }

    #[test]
    fn a_bad_name_is_refused_and_not_echoed_raw() {
        for (name, rule) in [
            ("", "empty"),
            ("a\nb", "ASCII"),
            ("a\"b", "ASCII"),
            (&"x".repeat(10_000), "64 bytes"),
        ] {
            let error = origin("bulkhead", name).unwrap_err();
            assert_eq!(error.field(), "name");
            assert!(error.rule().contains(rule), "{error}");
            assert!(error.to_string().len() < 200 && !error.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_lossy_name_is_always_plain() {
        let origin = origin_lossy("my layer", &"\u{1b}\n".repeat(500));
        assert_eq!(origin.layer(), "my_layer");
        assert_eq!(origin.name(), "_".repeat(64));
        assert_eq!(origin_lossy("x", "").name(), "default");
    }
}

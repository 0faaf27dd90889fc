//! Who a decision came from: the kind of layer and the name of the instance.
//!
//! Names are interned when a layer is built, so that a rejection carries a number: making one and cloning
//! it cost neither an allocation nor a reference count, and it is small. What is interned stays for
//! the life of the process, which is why names are for the instances a program is written with
//! (`payments`, `users`), not for values that come with a request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use crate::ConfigError;
use crate::log::Sums;
use crate::meter::Metered;
use crate::snapshot::Rejected;

/// The longest name an instance may have, in bytes.
const LONGEST: usize = 64;

/// What an instance is called when it was not given a name.
const DEFAULT: &str = "default";

/// A layer instance: its kind (`circuit_breaker`) and its name (`payments`).
#[derive(Debug)]
pub(crate) struct Origin {
    layer: &'static str,
    name: &'static str,
    number: Number,
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics ask for it")
    )]
    metered: Metered,
    #[cfg_attr(
        not(feature = "tracing"),
        allow(dead_code, reason = "only log lines ask for it")
    )]
    sums: Sums,
    rejected: Rejected,
}

/// The number of an interned origin: 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u32);

/// The instances without a name of their own, which are numbered from the beginning.
pub(crate) mod unnamed {
    use super::{DEFAULT, Metered, Number, Origin, Rejected, Sums};

    macro_rules! unnamed {
        ($($number:literal $origin:ident $layer:literal;)*) => {
            $(pub(crate) static $origin: Origin = Origin {
                layer: $layer,
                name: DEFAULT,
                number: Number($number),
                metered: Metered::new(),
                sums: Sums::new(),
                rejected: Rejected::new(),
            };)*

            pub(super) static ALL: &[&Origin] = &[$(&$origin),*];
        };
    }

    unnamed! {
        0 UNKNOWN "unknown";
        1 BULKHEAD "bulkhead";
        2 CIRCUIT_BREAKER "circuit_breaker";
        3 LOAD_SHED "load_shed";
        4 RETRY "retry";
        5 TIMEOUT "timeout";
        6 DEADLINE "deadline";
        7 RATE_LIMIT "rate_limit";
    }
}

impl Origin {
    pub(crate) const fn layer(&self) -> &'static str {
        self.layer
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// What all instances with this name have done that was not logged yet.
    #[cfg(feature = "tracing")]
    pub(crate) const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// What all instances with this name rejected that keep no count of their own.
    pub(crate) const fn rejected(&self) -> &Rejected {
        &self.rejected
    }

    /// The meter of all instances with this name that keep none of their own.
    #[cfg(feature = "metrics")]
    pub(crate) const fn metered(&self) -> &Metered {
        &self.metered
    }

    #[inline]
    pub(crate) const fn number(&self) -> Number {
        self.number
    }
}

impl Number {
    #[inline]
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whose number it is.
    pub(crate) fn origin(self) -> &'static Origin {
        let number = self.0 as usize;
        if let Some(origin) = unnamed::ALL.get(number) {
            return origin;
        }
        let interned = INTERNED.read().unwrap_or_else(PoisonError::into_inner);
        let origin = interned
            .as_ref()
            .and_then(|all| all.by_number.get(number - unnamed::ALL.len()).copied());
        origin.unwrap_or(&unnamed::UNKNOWN)
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
    intern(&clean(layer), &clean(name))
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

/// The rule that a name breaks, if it does.
fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("must not be empty")
    } else if name.len() > LONGEST {
        Some("must be at most 64 bytes")
    } else if !name.chars().all(allowed) {
        Some("must be made of ASCII letters, digits and . _ : / -")
    } else {
        None
    }
}

pub(crate) fn is_valid(name: &str) -> bool {
    broken_rule(name).is_none()
}

/// Why a name is refused, if it is.
pub(crate) fn check(component: &'static str, name: &str) -> Result<(), ConfigError> {
    let Some(rule) = broken_rule(name) else {
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

static INTERNED: RwLock<Option<Interned>> = RwLock::new(None);

#[derive(Default)]
struct Interned {
    by_text: HashMap<(&'static str, &'static str), &'static Origin>,
    by_number: Vec<&'static Origin>,
}

fn intern(layer: &str, name: &str) -> &'static Origin {
    let known = |origin: &&&Origin| (origin.layer, origin.name) == (layer, name);
    if let Some(origin) = unnamed::ALL.iter().find(known) {
        return origin;
    }
    let mut interned = INTERNED.write().unwrap_or_else(PoisonError::into_inner);
    let interned = interned.get_or_insert_default();
    if let Some(origin) = interned.by_text.get(&(layer, name)) {
        return origin;
    }
    let number = unnamed::ALL.len() + interned.by_number.len();
    let Some(number) = u32::try_from(number).ok().filter(|n| *n < 1 << 24) else {
        // Sixteen million names are no names.
        return &unnamed::UNKNOWN;
    };
    let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
    let origin: &'static Origin = Box::leak(Box::new(Origin {
        layer: leak(layer),
        name: leak(name),
        number: Number(number),
        metered: Metered::new(),
        sums: Sums::new(),
        rejected: Rejected::new(),
    }));
    interned.by_text.insert((origin.layer, origin.name), origin);
    interned.by_number.push(origin);
    origin
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

//! Who a decision came from: the kind of layer and the name of the instance.
//!
//! Names are interned when a layer is built, so that a rejection carries a number: making one and cloning
//! it cost neither an allocation nor a reference count, and it is small. What is interned stays for
//! the life of the process, which is why names are for the instances a program is written with
//! (`payments`, `users`), not for values that come with a request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use crate::observe::log::Sums;
use crate::observe::meter::Metered;
use crate::observe::snapshot::Rejected;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::{self, Kind};

/// The longest name an instance may have, in bytes.
const LONGEST: usize = 64;

/// What an instance is called when it was not given a name.
pub(crate) const DEFAULT: &str = "default";

/// A layer instance: its kind (`circuit_breaker`) and its name (`payments`).
#[derive(Debug)]
pub(crate) struct Origin {
    #[cfg_attr(
        not(any(feature = "metrics", feature = "tracing")),
        allow(dead_code, reason = "only metrics and log lines ask for it")
    )]
    kind: &'static Kind,
    /// The kind's name, or that of a user's own layer.
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
        ($($number:literal $origin:ident $kind:path;)*) => {
            $(pub(crate) static $origin: Origin = Origin {
                kind: &$kind,
                layer: $kind.layer,
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
        0 UNKNOWN crate::vocabulary::kind::UNKNOWN;
        1 BULKHEAD crate::layers::bulkhead::KIND;
        2 CIRCUIT_BREAKER crate::layers::circuit_breaker::KIND;
        3 LOAD_SHED crate::layers::load_shed::KIND;
        4 RETRY crate::layers::retry::KIND;
        5 TIMEOUT crate::layers::timeout::KIND;
        6 DEADLINE crate::vocabulary::kind::DEADLINE;
        7 RATE_LIMIT crate::layers::rate_limit::KIND;
    }
}

impl Origin {
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    pub(crate) const fn kind(&self) -> &'static Kind {
        self.kind
    }

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
pub(crate) fn origin(kind: &'static Kind, name: &str) -> Result<&'static Origin, ConfigError> {
    check(kind.layer, name)?;
    Ok(intern(kind, kind.layer, name))
}

/// The same for a layer of a user's own.
pub(crate) fn origin_of_users(
    kind: &'static Kind,
    layer: &'static str,
    name: &str,
) -> Result<&'static Origin, ConfigError> {
    let plain = !layer.is_empty()
        && layer.len() <= LONGEST
        && layer
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let rule = if !plain {
        "must be 1 to 64 of a-z, 0-9 and _"
    } else if kind::ALL.iter().any(|of| of.layer == layer) {
        "must not be the name of a layer of this crate"
    } else {
        check(layer, name)?;
        return Ok(intern(kind, layer, name));
    };
    let shown = layer.chars().take(LONGEST).collect::<String>();
    Err(ConfigError::new(
        "admission",
        "layer",
        format_args!("{shown:?}"),
        rule,
    ))
}

/// The interned origin for a name that may be anything: what a name may not contain is replaced.
pub(crate) fn origin_lossy(layer: &str, name: &str) -> &'static Origin {
    let (layer, name) = (clean(layer), clean(name));
    let known = kind::ALL.iter().find(|kind| kind.layer == layer);
    intern(known.unwrap_or(&&kind::UNKNOWN), &layer, &name)
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
    by_text: HashMap<(&'static str, &'static str, &'static str), &'static Origin>,
    by_number: Vec<&'static Origin>,
}

fn intern(kind: &'static Kind, layer: &str, name: &str) -> &'static Origin {
    let known = |origin: &&&Origin| {
        (origin.kind.layer, origin.layer, origin.name) == (kind.layer, layer, name)
    };
    if let Some(origin) = unnamed::ALL.iter().find(known) {
        return origin;
    }
    let mut interned = INTERNED.write().unwrap_or_else(PoisonError::into_inner);
    let interned = interned.get_or_insert_default();
    if let Some(origin) = interned.by_text.get(&(kind.layer, layer, name)) {
        return origin;
    }
    let number = unnamed::ALL.len() + interned.by_number.len();
    let Some(number) = u32::try_from(number).ok().filter(|n| *n < 1 << 24) else {
        // Sixteen million names are no names.
        return &unnamed::UNKNOWN;
    };
    let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
    let origin: &'static Origin = Box::leak(Box::new(Origin {
        kind,
        layer: leak(layer),
        name: leak(name),
        number: Number(number),
        metered: Metered::new(),
        sums: Sums::new(),
        rejected: Rejected::new(),
    }));
    let key = (kind.layer, origin.layer, origin.name);
    interned.by_text.insert(key, origin);
    interned.by_number.push(origin);
    origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_interned_once() {
        let a = origin(&crate::layers::bulkhead::KIND, "payments").unwrap();
        let b = origin(&crate::layers::bulkhead::KIND, "payments").unwrap();
        let c = origin(&crate::layers::timeout::KIND, "payments").unwrap();
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
            let error = origin(&crate::layers::bulkhead::KIND, name).unwrap_err();
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

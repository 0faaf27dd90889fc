//! The name of an instance: the kind of layer, and the name that was set.
//!
//! The instance owns its name, together with its rejections and events. The default name owns
//! nothing.

use std::fmt;
use std::sync::Arc;

use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::{Id, Kind};

/// The longest name an instance may have, in bytes.
const LONGEST: usize = 64;

/// The name of an instance without a name of its own.
pub(crate) const DEFAULT: &str = "default";

/// The kind of layer (`circuit_breaker`) and the name (`payments`) of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InstanceName {
    id: Id,
    named: Named,
}

/// The layer and name of a named instance, of a user's layer, or of an instance with a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Named(Option<Arc<Names>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Names {
    layer: &'static str,
    /// The name, followed by the key.
    text: Box<str>,
    /// The length of the name.
    name: u8,
}

impl Named {
    /// The kind of layer: that of `id` if there is no name.
    pub(crate) fn layer(&self, id: Id) -> &'static str {
        self.0.as_ref().map_or(id.layer(), |named| named.layer)
    }

    pub(crate) fn name(&self) -> &str {
        match &self.0 {
            Some(named) => named.text.get(..named.name.into()).unwrap_or(DEFAULT),
            None => DEFAULT,
        }
    }

    /// The key, empty without one.
    fn key_or_empty(&self) -> &str {
        match &self.0 {
            Some(named) => named.text.get(named.name.into()..).unwrap_or(""),
            None => "",
        }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        Some(self.key_or_empty()).filter(|key| !key.is_empty())
    }
}

impl InstanceName {
    /// The default name of this kind.
    pub(crate) const fn default_of(kind: &Kind) -> Self {
        Self {
            id: kind.id,
            named: Named(None),
        }
    }

    /// A name of this kind, if valid.
    pub(crate) fn new(kind: &Kind, name: Option<&str>) -> Result<Self, ConfigError> {
        let Some(name) = name else {
            return Ok(Self::default_of(kind));
        };
        check(kind.layer, name)?;
        Ok(Self::of(kind.id, kind.layer, name))
    }

    /// A name for a user's kind of layer.
    pub(crate) fn of_users(
        kind: &Kind,
        layer: &'static str,
        name: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let rule = if !is_word(layer) {
            "must be 1 to 64 of a-z, 0-9 and _"
        } else if Id::ALL.iter().any(|id| id.layer() == layer) {
            "must not be the name of a layer of this crate"
        } else {
            let name = name.unwrap_or(DEFAULT);
            check(layer, name)?;
            return Ok(Self::of(kind.id, layer, name));
        };
        let shown = layer.chars().take(LONGEST).collect::<String>();
        Err(ConfigError::new(
            "admission",
            "layer",
            format_args!("{shown:?}"),
            rule,
        ))
    }

    /// Replaces invalid characters, and cuts the name off where it is too long.
    pub(crate) fn lossy(layer: &'static str, name: &str) -> Self {
        let layer = if is_word(layer) {
            layer
        } else {
            Id::Unknown.layer()
        };
        let known = Id::ALL.into_iter().find(|id| id.layer() == layer);
        Self::of(known.unwrap_or(Id::Unknown), layer, &clean(name))
    }

    fn of(id: Id, layer: &'static str, name: &str) -> Self {
        let is_default = name == DEFAULT && layer == id.layer();
        if is_default {
            return Self {
                id,
                named: Named(None),
            };
        }
        Self::of_text(id, layer, name, "")
    }

    fn of_text(id: Id, layer: &'static str, name: &str, key: &str) -> Self {
        let names = Names {
            layer,
            text: [name, key].concat().into(),
            // No name is longer than `LONGEST`.
            name: u8::try_from(name.len()).unwrap_or(u8::MAX),
        };
        Self {
            id,
            named: Named(Some(Arc::new(names))),
        }
    }

    /// The name of the instance of a key, which is clean.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self::of_text(self.id, self.layer(), self.name(), key)
    }

    /// The key of the instance.
    pub(crate) fn key(&self) -> Option<&str> {
        self.named.key()
    }

    /// Whether this is the instance of a key, or with an empty key the one of calls without key.
    #[inline]
    pub(crate) fn has_key(&self, key: &str) -> bool {
        match &self.named.0 {
            Some(named) => {
                let own = named.text.as_bytes().get(named.name.into()..);
                own == Some(key.as_bytes())
            }
            None => key.is_empty(),
        }
    }

    pub(crate) const fn id(&self) -> Id {
        self.id
    }

    /// The name without the number of the kind.
    pub(crate) const fn named(&self) -> &Named {
        &self.named
    }

    pub(crate) fn layer(&self) -> &'static str {
        self.named.layer(self.id)
    }

    pub(crate) fn name(&self) -> &str {
        self.named.name()
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.layer(), self.name())?;
        match self.key() {
            Some(key) => write!(f, " [{key}]"),
            None => Ok(()),
        }
    }
}

fn is_word(layer: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=LONGEST).contains(&layer.len()) && layer.bytes().all(plain)
}

fn clean(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(LONGEST)
        .collect();
    if name.is_empty() {
        DEFAULT.to_owned()
    } else {
        name
    }
}

/// The rule that a name breaks, if any.
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

/// Refuses an invalid name.
pub(crate) fn check(component: &'static str, name: &str) -> Result<(), ConfigError> {
    let Some(rule) = broken_rule(name) else {
        return Ok(());
    };
    // The error shows the value shortened and escaped.
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

/// Names go into metric labels, headers and log lines: only characters that are safe in all.
fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-')
}

#[cfg(test)]
mod tests;

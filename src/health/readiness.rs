//! The answer to "is it ready".

use std::fmt;
use std::time::Duration;

use super::impairment::Impairment;
#[cfg(feature = "serde")]
use crate::observe::snapshot::optional_seconds;

/// Whether a program is ready for calls, and which instances are impaired:
/// [`Health::readiness`](super::Health::readiness).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Readiness {
    /// Whether the program is ready.
    pub ready: bool,
    /// Whether its [shutdown](crate::shutdown) has begun.
    pub shutting_down: bool,
    /// Why it is not ready. Empty if it is.
    pub reasons: Vec<String>,
    /// The impaired instances, in the order of the registry.
    pub instances: Vec<Impaired>,
}

/// An impaired instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Impaired {
    /// The kind of layer: `circuit_breaker`, `bulkhead`, `load_shed`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Why it rejects calls now, or soon may.
    pub impairment: Impairment,
    /// Whether it fails the readiness.
    pub essential: bool,
    /// The remaining time of an open circuit.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "retry_after_seconds", serialize_with = "optional_seconds")
    )]
    pub retry_after: Option<Duration>,
    /// The number of keys that are open or full, if the instance has [keys](crate::keyed).
    pub keys: Option<u64>,
}

/// A line for the readiness, and one for each impaired instance:
///
/// ```text
/// not ready: circuit_breaker `payments` is open
/// circuit_breaker payments: open, 4.2s left (essential)
/// bulkhead reports: full
/// ```
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ready {
            f.write_str("ready")?;
        } else {
            write!(f, "not ready: {}", self.reasons.join("; "))?;
        }
        for instance in &self.instances {
            write!(f, "\n{instance}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Impaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.layer, self.name, self.impairment)?;
        if let Some(keys) = self.keys {
            write!(f, " for {keys} key{}", if keys == 1 { "" } else { "s" })?;
        }
        if let Some(left) = self.retry_after {
            write!(f, ", {left:.1?} left")?;
        }
        f.write_str(if self.essential { " (essential)" } else { "" })
    }
}

#[cfg(feature = "http")]
impl Readiness {
    /// The same JSON as from `Serialize`, without a dependency.
    pub(super) fn to_json(&self) -> String {
        let reasons: Vec<_> = self.reasons.iter().map(|reason| quoted(reason)).collect();
        let instances: Vec<_> = self.instances.iter().map(Impaired::to_json).collect();
        format!(
            "{{\"ready\":{},\"shutting_down\":{},\"reasons\":[{}],\"instances\":[{}]}}",
            self.ready,
            self.shutting_down,
            reasons.join(","),
            instances.join(",")
        )
    }
}

#[cfg(feature = "http")]
impl Impaired {
    fn to_json(&self) -> String {
        let keys = self.keys.map(|keys| keys.to_string());
        let left = self
            .retry_after
            .map(|left| format!("{:?}", left.as_secs_f64()));
        format!(
            "{{\"layer\":{},\"name\":{},\"impairment\":\"{}\",\"essential\":{},\"retry_after_seconds\":{},\"keys\":{}}}",
            quoted(self.layer),
            quoted(&self.name),
            self.impairment,
            self.essential,
            left.as_deref().unwrap_or("null"),
            keys.as_deref().unwrap_or("null")
        )
    }
}

/// A JSON string. A name that was asked for may contain any character.
#[cfg(feature = "http")]
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ..' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

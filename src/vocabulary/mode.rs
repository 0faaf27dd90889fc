//! Whether a layer acts on its decisions.

use std::fmt;

use crate::vocabulary::settings::words;

/// Whether a layer enforces its decisions, only reports them, or is off.
///
/// Each layer has a `mode` setter, and its handle can change the mode while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// It acts on its decisions. The default.
    #[default]
    Enforce,
    /// It decides as usual, but rejects, ends and repeats no call. Use it to try settings on real
    /// traffic.
    ///
    /// A call that would have been rejected is reported as `would_reject` in events, metrics, the
    /// log and the snapshot.
    Shadow,
    /// It admits every call and decides nothing.
    Off,
}

impl Mode {
    /// The name in snake case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Enforce,
            1 => Self::Shadow,
            _ => Self::Off,
        }
    }
}

words!(Mode, [Enforce = "enforce", Shadow = "shadow", Off = "off"]);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

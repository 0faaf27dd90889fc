//! The snapshots of a stack's layers.

use std::fmt;

use crate::registry::Instance;

/// A layer with a snapshot.
pub(super) trait Snapshots {
    type Snapshot;

    fn snapshot(&self) -> Self::Snapshot;

    /// The handle of its instance, for a registry.
    fn instance(&self) -> Instance;

    /// Whether a layer that is off has rejected calls, because their
    /// [`Overrides`](crate::Overrides) set a limit.
    fn has_rejected(&self) -> bool {
        false
    }
}

/// Prints one line for each layer, outermost first.
pub(super) fn lines(
    f: &mut fmt::Formatter<'_>,
    layers: &[Option<&dyn fmt::Display>],
) -> fmt::Result {
    for (at, line) in layers.iter().flatten().enumerate() {
        let end = if at == 0 { "" } else { "\n" };
        write!(f, "{end}{line}")?;
    }
    Ok(())
}

//! Whether a layer rejects or queues a call for which it has no permit.

use std::time::Duration;

use crate::vocabulary::config::ConfigError;
use crate::vocabulary::sealed::Sealed;

const MAX: Duration = Duration::from_secs(3600);

/// A layer that rejects a call at once if there is no permit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rejecting;

/// A layer that can queue calls if there is no permit. Its settings decide whether it does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queued;

/// Refuses a longest wait out of range.
pub(crate) fn check_max_wait(
    layer: &'static str,
    setting: &'static str,
    max_wait: Duration,
) -> Result<(), ConfigError> {
    if max_wait.is_zero() || max_wait > MAX {
        let rule = "must be above zero and at most one hour";
        let max_wait = format_args!("{max_wait:?}");
        return Err(ConfigError::new(layer, setting, max_wait, rule));
    }
    Ok(())
}

/// Whether a layer of this type can queue calls: [`Rejecting`] or [`Queued`].
///
/// This trait is sealed: only mainstay implements it.
pub trait CanQueue: Sealed {
    #[doc(hidden)]
    const CAN_QUEUE: bool;
}

impl Sealed for Rejecting {}

impl CanQueue for Rejecting {
    const CAN_QUEUE: bool = false;
}

impl Sealed for Queued {}

impl CanQueue for Queued {
    const CAN_QUEUE: bool = true;
}

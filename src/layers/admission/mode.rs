//! Whether a layer rejects or queues a call for which it has no permit.

use std::time::Duration;

use crate::vocabulary::config::ConfigError;

const MAX: Duration = Duration::from_secs(3600);

/// The mode that rejects a call at once if there is no permit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rejecting;

/// The mode that queues calls if there is no permit.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// `None`: no queue. So a standard stack has the same type with and without a queue.
    pub(crate) max_wait: Option<Duration>,
}

impl Queued {
    pub(crate) fn check(
        self,
        layer: &'static str,
        setting: &'static str,
    ) -> Result<(), ConfigError> {
        match self.max_wait {
            Some(wait) if wait.is_zero() || wait > MAX => {
                let rule = "must be above zero and at most one hour";
                let wait = format_args!("{wait:?}");
                Err(ConfigError::new(layer, setting, wait, rule))
            }
            _ => Ok(()),
        }
    }
}

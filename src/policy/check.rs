//! Checks of settings that several policies share, each with one wording of its rule.

use std::{fmt, time::Duration};

use super::LONGEST;
use crate::vocabulary::config::ConfigError;

/// Checks the settings of the component with this name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check(pub(super) &'static str);

impl Check {
    pub(super) fn refuse(
        self,
        field: &'static str,
        value: impl fmt::Display,
        rule: impl Into<String>,
    ) -> ConfigError {
        ConfigError::new(self.0, field, value, rule)
    }

    pub(super) fn refuse_duration(
        self,
        field: &'static str,
        value: Duration,
        rule: impl Into<String>,
    ) -> ConfigError {
        self.refuse(field, format!("{value:?}"), rule)
    }

    pub(super) fn count(
        self,
        field: &'static str,
        value: u32,
        least: u32,
        most: u32,
    ) -> Result<(), ConfigError> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(self.refuse(field, value, format!("must be from {least} to {most}")))
    }

    /// At most [`LONGEST`].
    pub(super) fn duration(
        self,
        field: &'static str,
        value: Duration,
        least: Duration,
    ) -> Result<(), ConfigError> {
        if (least..=LONGEST).contains(&value) {
            return Ok(());
        }
        Err(self.refuse_duration(field, value, format!("must be from {least:?} to 24h")))
    }

    pub(super) fn share(self, field: &'static str, value: f64) -> Result<(), ConfigError> {
        if value > 0.0 && value <= 1.0 {
            return Ok(());
        }
        Err(self.refuse(field, value, "must be more than 0 and at most 1"))
    }
}

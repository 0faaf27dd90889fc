//! Resilience for any tower stack.
#![forbid(unsafe_code)]

mod config;
mod outcome;
mod policy;

pub use config::ConfigError;
pub use outcome::Outcome;

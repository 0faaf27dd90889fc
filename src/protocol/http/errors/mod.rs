//! The errors of HTTP clients, each behind its feature.

#[cfg(feature = "hyper")]
pub(super) mod hyper;
#[cfg(feature = "reqwest")]
pub(super) mod reqwest;

//! Adapters for frameworks, each behind its feature.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "tonic")]
mod tonic;

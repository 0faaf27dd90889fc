//! The primitives through which threads share state: the standard library's.
//!
//! Files whose interleavings are explored take them from here. In those models (`src/models.rs`)
//! they are loom's.

#[cfg(not(mainstay_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, atomic};

#[cfg(mainstay_loom)]
pub(crate) use self::models::{OnceLock, atomic};
#[cfg(mainstay_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

#[cfg(mainstay_loom)]
mod models;

//! The errors that end an attempt's body before its source ends.

use std::any::Any;
use std::error::Error as StdError;
use std::{fmt, io};

use crate::vocabulary::error::BoxError;

/// Why an attempt's body was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOff {
    /// The next attempt reads the body.
    Superseded,
    /// The source panicked, perhaps during an earlier attempt.
    Panicked,
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => "a later attempt of the request reads its body now",
            Self::Panicked => "the request's body panicked",
        })
    }
}

impl StdError for CutOff {}

/// Creates the error as a body's error type, or `None` if that type is unknown.
pub(super) fn make<E: 'static>(why: CutOff) -> Option<E> {
    fn is<T: 'static, E: 'static>(error: impl FnOnce() -> T) -> Option<E> {
        let mut slot = None::<E>;
        let any: &mut dyn Any = &mut slot;
        *any.downcast_mut()? = Some(error());
        slot
    }
    let found = is::<BoxError, E>(|| why.into())
        .or_else(|| is::<io::Error, E>(|| io::Error::other(why)))
        .or_else(|| is::<Box<dyn StdError + Send>, E>(|| Box::new(why)));
    #[cfg(feature = "axum")]
    let found = found.or_else(|| is(|| axum_core::Error::new(why)));
    #[cfg(feature = "tonic")]
    let found = found.or_else(|| is(|| tonic::Status::from_error(why.into())));
    found
}

#[cfg(test)]
#[path = "superseded_tests.rs"]
mod tests;

//! The errors that end the body of an attempt where its source does not.

use std::any::Any;
use std::error::Error as StdError;
use std::{fmt, io};

use crate::vocabulary::error::BoxError;

/// Why a body came to no end of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BrokenOff {
    /// Another attempt has taken it over.
    Superseded,
    /// Its source panicked, maybe while an earlier attempt was reading it.
    Panicked,
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => "the request was given up: another attempt has taken its body over",
            Self::Panicked => "the request's body has panicked",
        })
    }
}

impl StdError for BrokenOff {}

/// That error as a body's own error type; `None` where there is no way to make one.
pub(super) fn make<E: 'static>(why: BrokenOff) -> Option<E> {
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
mod tests {
    use super::*;

    #[test]
    fn an_error_is_made_where_its_type_is_known() {
        let why = BrokenOff::Panicked;
        let made = make::<BoxError>(why).unwrap();
        assert_eq!(made.downcast_ref(), Some(&why));
        assert!(make::<io::Error>(why).is_some());
        assert!(make::<std::convert::Infallible>(why).is_none());
        #[cfg(feature = "axum")]
        assert!(make::<axum_core::Error>(why).is_some());
        #[cfg(feature = "tonic")]
        assert!(make::<tonic::Status>(why).is_some());
    }
}

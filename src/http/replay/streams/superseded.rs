//! The error that ends the body of an attempt when the next one begins.

use std::any::Any;
use std::error::Error as StdError;
use std::{fmt, io};

use crate::BoxError;

/// Another attempt has taken this body over.
#[derive(Debug)]
struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was given up: another attempt has taken its body over")
    }
}

impl StdError for Superseded {}

/// That error as a body's own error type; `None` where there is no way to make one.
pub(super) fn make<E: 'static>() -> Option<E> {
    fn is<T: 'static, E: 'static>(error: impl FnOnce() -> T) -> Option<E> {
        let mut slot = None::<E>;
        let any: &mut dyn Any = &mut slot;
        *any.downcast_mut()? = Some(error());
        slot
    }
    let found = is::<BoxError, E>(|| Superseded.into())
        .or_else(|| is::<io::Error, E>(|| io::Error::other(Superseded)))
        .or_else(|| is::<Box<dyn StdError + Send>, E>(|| Box::new(Superseded)));
    #[cfg(feature = "axum")]
    let found = found.or_else(|| is(|| axum_core::Error::new(Superseded)));
    #[cfg(feature = "tonic")]
    let found = found.or_else(|| is(|| tonic::Status::from_error(Superseded.into())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_made_where_its_type_is_known() {
        assert!(make::<BoxError>().unwrap().is::<Superseded>());
        assert!(make::<io::Error>().is_some());
        assert!(make::<std::convert::Infallible>().is_none());
        #[cfg(feature = "axum")]
        assert!(make::<axum_core::Error>().is_some());
        #[cfg(feature = "tonic")]
        assert!(make::<tonic::Status>().is_some());
    }
}

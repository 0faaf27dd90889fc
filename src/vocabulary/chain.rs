//! The chain of sources behind an error.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

/// Finds an error of a type behind any error, itself included.
pub(crate) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // Pointers to an error are errors of their own, and give out its source and not itself.
        if let Some(found) = error.downcast_ref::<Arc<T>>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<Box<T>>() {
            return Some(found);
        }
        next = source(error);
    }
    None
}

fn source<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // An `io::Error` that wraps another error gives out that one's source and leaves out the error itself.
    let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{error::Error, reason::Reason, rejection::Rejection};

    #[test]
    fn an_error_is_found_behind_any_other() {
        let rejection = Rejection::new("bulkhead", "disk", Reason::Full);
        assert_eq!(find(&rejection), Some(&rejection));
        let error: Error<io::Error> = Error::Rejected(rejection.clone());
        assert_eq!(find(&error), Some(&rejection));
        let inner = io::Error::other(io::Error::other(rejection.clone()));
        let error = Error::Inner(inner);
        assert_eq!(find(&error), Some(&rejection));
        assert_eq!(find::<std::fmt::Error>(&error), None);
        let shared = io::Error::other(Arc::new(rejection.clone()));
        assert_eq!(find(&shared), Some(&rejection));
        assert_eq!(find(&Box::new(rejection.clone())), Some(&rejection));
    }
}

//! The chain of sources behind an error.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

/// Finds an error of type `T` in an error's chain of sources, itself included.
pub(crate) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // A pointer to an error returns the error's source, not the error itself.
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
    // An `io::Error` that wraps an error returns the source of that error, not the error itself.
    let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests;

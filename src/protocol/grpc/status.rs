//! tonic's status as the error of a stack: it carries a rejection as its source.

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use tonic::metadata::MetadataValue;
use tonic::{Status, TimeoutExpired};

use super::code::Code;
use super::errors::Cause;
use super::pushback::{PUSHBACK, Pushback, millis, read};
use crate::protocol::http::Unprocessed;
use crate::vocabulary::chain::find;
use crate::vocabulary::{
    error::{BoxError, WithRejection},
    rejection::Rejection,
};

impl WithRejection for Status {
    type Error = Self;

    #[inline]
    fn grow(self) -> Self {
        self
    }

    #[cold]
    fn reject(rejection: Rejection) -> Self {
        let code = Code::of_reason(rejection.reason()).into();
        let mut status = Self::new(code, rejection.to_string());
        if let Some(after) = rejection.retry_after() {
            let after = MetadataValue::from(millis(after));
            status.metadata_mut().insert(PUSHBACK, after);
        }
        status.set_source(Arc::new(rejection));
        status
    }

    fn rejection(&self) -> Option<&Rejection> {
        self.source().and_then(Rejection::find)
    }
}

impl WithRejection for tonic::transport::Error {
    type Error = Status;

    fn grow(self) -> Status {
        // tonic has a time limit of its own (`Endpoint::timeout`) and calls what it ends cancelled.
        let late = find::<TimeoutExpired>(&self).is_some();
        let lost = find::<io::Error>(&self).is_some() || Unprocessed::of_chain(&self).is_some();
        let status = Status::from_error(Box::new(self));
        let code = match status.code() {
            _ if late => tonic::Code::DeadlineExceeded,
            // It has no code for a connection that breaks, calls a request cancelled for which there was none any more, and one that the
            // server turned away as it shut down an internal error. A stream that the server has cancelled keeps its code.
            tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal if lost => {
                tonic::Code::Unavailable
            }
            _ => return status,
        };
        let mut known = Status::new(code, status.message());
        known.set_source(Arc::new(status));
        known
    }

    fn reject(rejection: Rejection) -> Status {
        Status::reject(rejection)
    }

    fn rejection(&self) -> Option<&Rejection> {
        Rejection::find(self)
    }
}

fn chain<E: 'static>(error: &E) -> Option<&(dyn StdError + 'static)> {
    let any: &dyn Any = error;
    if let Some(status) = any.downcast_ref::<Status>() {
        Some(status)
    } else {
        any.downcast_ref::<BoxError>().map(|boxed| &**boxed as _)
    }
}

pub(super) fn pushback<E: 'static>(error: &E) -> Option<Pushback> {
    read(find::<Status>(chain(error)?)?.metadata().as_ref())
}

fn is_of_transport(error: &(dyn StdError + 'static)) -> bool {
    find::<tonic::transport::Error>(error).is_some()
}

/// What an error that is no rejection comes from.
pub(super) fn cause<E: 'static>(error: &E) -> Cause {
    let Some(error) = chain(error) else {
        return Cause::Transport;
    };
    if find::<TimeoutExpired>(error).is_some() {
        return Cause::TimedOut;
    }
    let Some(status) = find::<Status>(error) else {
        return Cause::Transport;
    };
    let is_reset = || {
        let reset = find::<h2::Error>(error);
        reset.is_some_and(|error| error.is_reset() && error.is_remote())
    };
    // tonic says "cancelled" or "unknown" of a connection that was lost, "cancelled" of a stream that the server reset, and "permission denied"
    // of one reset for want of security, and "resource exhausted" of ENHANCE_YOUR_CALM, though no service said any of it. It keeps what
    // happened as the source.
    match status.code() {
        tonic::Code::Cancelled if status.source().is_some() && is_reset() => Cause::Cancelled,
        tonic::Code::Cancelled if status.source().is_some() => Cause::Transport,
        tonic::Code::PermissionDenied | tonic::Code::ResourceExhausted
            if is_of_transport(error) =>
        {
            Cause::Cancelled
        }
        tonic::Code::Unknown if is_of_transport(error) && !is_reset() => Cause::Transport,
        code => Cause::Code(code.into()),
    }
}

/// See [`errors::unready`](super::errors::unready).
pub(super) fn unready<E: 'static>(error: E, rejected: E) -> E {
    if matches!(cause(&error), Cause::Code(code) if code != Code::Unknown) {
        return error;
    }
    let mut slot = Some(error);
    let any: &mut dyn Any = &mut slot;
    if let Some(status) = any.downcast_mut::<Option<Status>>() {
        *status = status.take().map(|status| {
            let message = status.message().to_owned();
            unavailable(message, Arc::new(status))
        });
    } else if let Some(boxed) = any.downcast_mut::<Option<BoxError>>() {
        *boxed = boxed
            .take()
            .map(|error| unavailable(error.to_string(), Arc::from(error)).into());
    } else {
        return rejected;
    }
    slot.unwrap_or(rejected)
}

fn unavailable(message: String, source: Arc<dyn StdError + Send + Sync>) -> Status {
    let mut status = Status::unavailable(message);
    status.set_source(source);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::reason::Reason;
    use std::time::Duration;
    use tonic::Code::{DeadlineExceeded, ResourceExhausted, Unavailable};

    const REASONS: [(Reason, tonic::Code); Reason::ALL.len()] = [
        (Reason::CircuitOpen, Unavailable),
        (Reason::NotReady, Unavailable),
        (Reason::Full, Unavailable),
        (Reason::QueueTimeout, Unavailable),
        (Reason::Shed, Unavailable),
        (Reason::TimedOut, DeadlineExceeded),
        (Reason::DeadlinePassed, DeadlineExceeded),
        (Reason::RateLimited, ResourceExhausted),
        (Reason::Refused, Unavailable),
    ];

    #[test]
    fn every_reason_has_its_own_status() {
        for (reason, code) in REASONS {
            let status = reason.grpc_status();
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), reason.describe());
            assert!(std::ptr::eq(status, reason.grpc_status()));
        }
    }

    #[test]
    fn a_status_carries_the_rejection() {
        for (reason, code) in REASONS {
            let rejection = Rejection::new("bulkhead", "users", reason)
                .with_retry_after(Duration::from_micros(1_500));
            let status = Status::reject(rejection.clone());
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), rejection.to_string());
            assert_eq!(status.rejection(), Some(&rejection));
            let pushback = status.metadata().get(PUSHBACK).unwrap();
            assert_eq!(pushback.to_str().unwrap(), "2");
        }
        assert_eq!(Status::unavailable("").rejection(), None);
        let status = Status::reject(Rejection::new("bulkhead", "users", Reason::Full));
        assert!(status.metadata().get(PUSHBACK).is_none());
    }

    #[test]
    fn the_code_is_found_behind_any_box() {
        for (reason, code) in REASONS {
            let rejection = Rejection::new("bulkhead", "users", reason);
            let error =
                crate::vocabulary::error::Error::<std::io::Error>::Rejected(rejection.clone());
            let boxed: BoxError = Box::new(std::io::Error::other(error));
            let status = Status::from_error(boxed);
            assert_eq!(status.code(), code);
            assert_eq!(status.rejection(), Some(&rejection));
        }
    }
}

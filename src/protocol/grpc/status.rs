//! `tonic::Status` as the error of a stack, with a rejection as its source.

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
        // tonic reports its own time limit (`Endpoint::timeout`) as CANCELLED.
        let late = find::<TimeoutExpired>(&self).is_some();
        let lost = find::<io::Error>(&self).is_some() || Unprocessed::of_chain(&self).is_some();
        let status = Status::from_error(Box::new(self));
        let code = match status.code() {
            _ if late => tonic::Code::DeadlineExceeded,
            // tonic reports a broken connection as UNKNOWN, a request without a connection as
            // CANCELLED, and one refused by a server that shuts down as INTERNAL. A stream that the
            // server reset keeps its code.
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

/// The cause of an error that is not a rejection.
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
    // tonic makes up codes, and keeps the true cause as the source: CANCELLED or UNKNOWN for a lost
    // connection, CANCELLED for a stream that the server reset, PERMISSION_DENIED for one reset
    // with INADEQUATE_SECURITY, and RESOURCE_EXHAUSTED for ENHANCE_YOUR_CALM.
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
#[path = "status_tests.rs"]
mod tests;

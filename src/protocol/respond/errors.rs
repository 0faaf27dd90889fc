//! The error types that a [`RespondLayer`](crate::RespondLayer) answers.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::{
    error::{BoxError, Error},
    rejection::Rejection,
};

/// An error that is always a rejection: [`Rejection`], and [`Infallible`].
///
/// The layers have this error around a service that cannot fail, such as routes of axum and tonic.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not always a mainstay rejection, and `RespondLayer` cannot answer other errors",
    label = "the stack inside of this `RespondLayer` can return other errors than rejections",
    note = "answer other errors with a closure: `RespondLayer::new().map_error(|error: ...| -> http::Response<_> {{ ... }})`; with a standard stack, put that layer between the stack and the service that fails",
    note = "a `BoxError` mostly comes from a layer of tower, such as `tower::timeout::TimeoutLayer`: mainstay's layers turn the error `Infallible` into `Rejection`"
)]
pub trait OnlyRejection: Sealed {
    /// The rejection.
    fn into_rejection(self) -> Rejection;
}

impl Sealed for Rejection {}

impl OnlyRejection for Rejection {
    fn into_rejection(self) -> Rejection {
        self
    }
}

impl Sealed for Infallible {}

impl OnlyRejection for Infallible {
    fn into_rejection(self) -> Rejection {
        match self {}
    }
}

/// An error that may be a rejection.
///
/// Implement it for your own error type if you also implement
/// [`WithRejection`](crate::WithRejection) by hand.
#[diagnostic::on_unimplemented(
    message = "`RespondLayer` does not know whether a `{Self}` is a rejection",
    note = "it knows for `mainstay::Error<E>`, `BoxError` and (feature `tonic`) `tonic::Status`",
    note = "every layer of mainstay turns a service's own error into a `mainstay::Error<E>`; at the bottom of the stack, use `.map_err(mainstay::Error::from)` (`tower::ServiceBuilder::map_err`)"
)]
pub trait MayBeRejection {
    /// The type of other errors.
    type Rest;

    /// Separates rejections from other errors.
    fn sort(self) -> Error<Self::Rest>;
}

impl<E> MayBeRejection for Error<E> {
    type Rest = E;

    fn sort(self) -> Self {
        self
    }
}

impl MayBeRejection for Rejection {
    type Rest = Infallible;

    fn sort(self) -> Error<Infallible> {
        Error::Rejected(self)
    }
}

impl MayBeRejection for Infallible {
    type Rest = Self;

    fn sort(self) -> Error<Self> {
        match self {}
    }
}

macro_rules! by_chain {
    ($($(#[$attribute:meta])* $error:ty => $find:expr),* $(,)?) => {$(
        $(#[$attribute])*
        impl MayBeRejection for $error {
            type Rest = Self;

            fn sort(self) -> Error<Self> {
                let find: fn(&Self) -> Option<&Rejection> = $find;
                match find(&self).cloned() {
                    Some(rejection) => Error::Rejected(rejection),
                    None => Error::Inner(self),
                }
            }
        }
    )*};
}

by_chain! {
    BoxError => |error| Rejection::find(&**error),
    Box<dyn StdError + Send> => |error| Rejection::find(&**error),
    #[cfg(feature = "tonic")] tonic::Status => crate::vocabulary::error::WithRejection::rejection,
}

/// How a [`RespondLayer`](crate::RespondLayer) handles errors.
///
/// This trait is sealed: only mainstay implements it.
pub trait Mapping: Sealed {
    /// The type of errors that are not rejections.
    type Rest;
}

/// How errors of a type become responses with a body of type `ResB`.
///
/// This trait is sealed: only mainstay implements it.
pub trait MapError<E, ResB>: Mapping {
    /// Separates rejections from other errors.
    fn sort(error: E) -> Error<Self::Rest>;

    /// The response to an error that is not a rejection.
    fn answer(&self, rest: Self::Rest) -> http::Response<ResB>;
}

/// All errors are rejections.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectionsOnly;

impl Sealed for RejectionsOnly {}

impl Mapping for RejectionsOnly {
    type Rest = Infallible;
}

impl<E: OnlyRejection, ResB> MapError<E, ResB> for RejectionsOnly {
    fn sort(error: E) -> Error<Infallible> {
        Error::Rejected(error.into_rejection())
    }

    fn answer(&self, rest: Infallible) -> http::Response<ResB> {
        match rest {}
    }
}

/// A closure answers errors that are not rejections.
pub struct MapErrorWith<F, R> {
    answer: Arc<F>,
    rest: PhantomData<fn(R)>,
}

impl<F, R> MapErrorWith<F, R> {
    pub(super) fn new(answer: F) -> Self {
        Self {
            answer: Arc::new(answer),
            rest: PhantomData,
        }
    }
}

impl<F, R> Sealed for MapErrorWith<F, R> {}

impl<F, R> Mapping for MapErrorWith<F, R> {
    type Rest = R;
}

impl<F, R, E, ResB> MapError<E, ResB> for MapErrorWith<F, R>
where
    E: MayBeRejection<Rest = R>,
    F: Fn(R) -> http::Response<ResB>,
{
    fn sort(error: E) -> Error<R> {
        error.sort()
    }

    fn answer(&self, rest: R) -> http::Response<ResB> {
        (self.answer)(rest)
    }
}

impl<F, R> Clone for MapErrorWith<F, R> {
    fn clone(&self) -> Self {
        Self {
            answer: Arc::clone(&self.answer),
            rest: PhantomData,
        }
    }
}

impl<F, R> fmt::Debug for MapErrorWith<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MapErrorWith(..)")
    }
}

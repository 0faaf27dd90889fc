//! What the errors of a stack are to the layer that answers them.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::vocabulary::{
    error::{BoxError, Error},
    rejection::Rejection,
};

/// An error that can be nothing but a rejection: [`Rejection`] itself, and [`Infallible`].
///
/// This is what layers make of a service that cannot fail, such as axum's routes and tonic's.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can be more than a mainstay rejection, and `RespondLayer` would not know how to answer that",
    label = "not only rejections can leave the stack inside of this `RespondLayer`",
    note = "say how to answer the rest: `RespondLayer::new().map_error(|error: ...| -> http::Response<_> {{ ... }})`; with a standard stack, put that layer between the stack and what fails",
    note = "a `BoxError` mostly comes from a layer of tower's own, such as `tower::timeout::TimeoutLayer`: mainstay's layers leave the error `Infallible` a `Rejection`"
)]
pub trait OnlyRejection {
    /// The rejection that it is.
    fn into_rejection(self) -> Rejection;
}

impl OnlyRejection for Rejection {
    fn into_rejection(self) -> Rejection {
        self
    }
}

impl OnlyRejection for Infallible {
    fn into_rejection(self) -> Rejection {
        match self {}
    }
}

/// An error that is a rejection or something else, and can be told apart.
#[diagnostic::on_unimplemented(
    message = "`RespondLayer` cannot tell whether a `{Self}` is a rejection",
    note = "it can for `mainstay::Error<E>`, `BoxError` and (feature `tonic`) `tonic::Status`",
    note = "a service's own error becomes a `mainstay::Error<E>` in every layer of mainstay's, or by `.map_err(mainstay::Error::from)` (`tower::ServiceBuilder::map_err`) at the bottom of the stack"
)]
pub trait MayBeRejection {
    /// What it is when it is no rejection.
    type Rest;

    /// Which of both it is.
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

/// What a [`RespondLayer`](crate::RespondLayer) does with errors: keeps them between readiness and call, and answers them.
pub trait Mapping {
    /// What can be left of an error when it is no rejection.
    type Rest;
}

/// How errors of a type are answered in responses with a body of type `ResB`.
pub trait MapError<E, ResB>: Mapping {
    /// Whether it is a rejection.
    fn sort(error: E) -> Error<Self::Rest>;

    /// The answer to an error that is none.
    fn answer(&self, rest: Self::Rest) -> http::Response<ResB>;
}

/// Only rejections can come.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectionsOnly;

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

/// A closure answers what is no rejection.
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

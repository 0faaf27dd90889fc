//! How an error type grows to carry a rejection, too, without nesting.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;

use crate::vocabulary::rejection::Rejection;

/// A boxed error of any type, the error of many tower stacks.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A service error that can also be a [`Rejection`].
///
/// Every layer grows the error of its inner service by these rules. Growing is idempotent: below
/// ten layers the error is still one flat type.
///
/// Errors are `Send` and `'static`, because a layer stores an error of `poll_ready` until the next
/// call: see [readiness](crate#readiness).
///
/// | error of the service | error of a layer |
/// |---|---|
/// | [`Infallible`] | [`Rejection`], the only possible error |
/// | [`Rejection`], [`Error<E>`], [`BoxError`] | itself |
/// | `tonic::Status` | itself; the rejection is its source |
/// | `tonic::transport::Error` | `tonic::Status` |
/// | [`std::io::Error`], `reqwest::Error`, `hyper::Error`, any [`Plain`] error | [`Error<E>`] |
///
/// # For an error type of your own
///
/// ```
/// # #[derive(Debug)]
/// struct MyError;
/// impl mainstay::Plain for MyError {}
/// ```
///
/// # Implementing it by hand
///
/// Only if your error type can already hold a rejection. Then it grows into itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a mainstay rejection",
    label = "the service's error type must grow to also be a `mainstay::Rejection`",
    note = "for an error type of your own, write: `impl mainstay::Plain for {Self} {{}}`",
    note = "for an error type of another crate, turn it into `mainstay::BoxError` or into a type of your own with `.map_err(..)` (`tower::ServiceBuilder::map_err`) at the bottom of the stack"
)]
pub trait WithRejection: Sized + Send + 'static {
    /// The grown type. Growing it again changes nothing.
    type Error: WithRejection<Error = Self::Error>;

    /// Turns this error into the grown type.
    fn grow(self) -> Self::Error;

    /// Makes a grown error from a rejection.
    fn reject(rejection: Rejection) -> Self::Error;

    /// The rejection that this error is or wraps.
    fn rejection(&self) -> Option<&Rejection>;
}

/// The grown form of a service's error: see [`WithRejection`].
pub type Grown<E> = <E as WithRejection>::Error;

/// An error type without rejections: it grows into [`Error<Self>`](Error).
///
/// For an error type of your own, an empty `impl` is enough: see [`WithRejection`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a mainstay rejection",
    label = "the service's error type must grow to also be a `mainstay::Rejection`",
    note = "for an error type of your own, write: `impl mainstay::Plain for {Self} {{}}`",
    note = "for an error type of another crate, turn it into `mainstay::BoxError` or into a type of your own with `.map_err(..)` (`tower::ServiceBuilder::map_err`) at the bottom of the stack"
)]
pub trait Plain: Send + 'static {}

/// The service's own error, or a rejection by a layer.
///
/// ```
/// use mainstay::{Error, Reason, Rejection};
///
/// fn describe(error: &Error<std::io::Error>) -> String {
///     match error {
///         Error::Rejected(rejection) => format!("not even tried: {}", rejection.reason()),
///         Error::Inner(error) => format!("tried and failed: {error}"),
///     }
/// }
/// # let rejection = Rejection::new("bulkhead", "disk", Reason::Full);
/// assert_eq!(describe(&Error::Rejected(rejection)), "not even tried: full");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// A layer rejected or ended the call.
    Rejected(Rejection),
    /// The service's own error.
    Inner(E),
}

impl<E> Error<E> {
    /// The rejection, if any.
    pub const fn as_rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(_) => None,
        }
    }

    /// The service's own error, if any.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Self::Inner(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // Not the source of the variant, but the variant: code that looks for an `io::Error` or a
        // `Rejection` in the chain must find it.
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E: Send + 'static> WithRejection for Error<E> {
    type Error = Self;

    #[inline]
    fn grow(self) -> Self {
        self
    }

    #[inline]
    fn reject(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }

    #[inline]
    fn rejection(&self) -> Option<&Rejection> {
        self.as_rejection()
    }
}

impl<E: Plain> WithRejection for E {
    type Error = Error<E>;

    #[inline]
    fn grow(self) -> Error<E> {
        Error::Inner(self)
    }

    #[inline]
    fn reject(rejection: Rejection) -> Error<E> {
        Error::Rejected(rejection)
    }

    #[inline]
    fn rejection(&self) -> Option<&Rejection> {
        None
    }
}

impl WithRejection for Infallible {
    type Error = Rejection;

    #[inline]
    fn grow(self) -> Rejection {
        match self {}
    }

    #[inline]
    fn reject(rejection: Rejection) -> Rejection {
        rejection
    }

    #[inline]
    fn rejection(&self) -> Option<&Rejection> {
        match *self {}
    }
}

impl WithRejection for Rejection {
    type Error = Self;

    #[inline]
    fn grow(self) -> Self {
        self
    }

    #[inline]
    fn reject(rejection: Rejection) -> Self {
        rejection
    }

    #[inline]
    fn rejection(&self) -> Option<&Self> {
        Some(self)
    }
}

macro_rules! boxed {
    ($($boxed:ty),*) => {$(
        impl WithRejection for $boxed {
            type Error = Self;

            fn grow(self) -> Self {
                self
            }

            fn reject(rejection: Rejection) -> Self {
                Box::new(rejection)
            }

            fn rejection(&self) -> Option<&Rejection> {
                Rejection::find(&**self)
            }
        }
    )*};
}

boxed!(BoxError, Box<dyn StdError + Send>);

impl Plain for () {}
impl Plain for String {}
impl Plain for &'static str {}
impl Plain for std::fmt::Error {}
impl Plain for std::io::Error {}
impl Plain for tokio::task::JoinError {}

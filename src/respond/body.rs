//! How the answer to a rejection gets the body type of the service.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::http::{GuardedBody, InContextBody};
use crate::scoped::Scope;

/// A body type that a short text can be put into: those of axum, tonic, reqwest and http-body-util with their features, and plain ones.
#[diagnostic::on_unimplemented(
    message = "mainstay does not know how to make a body of type `{Self}` for the answer to a rejection",
    label = "this body type is not known",
    note = "say how: `RespondLayer::new().body_with(|json: Bytes| ...)`, or do without a body: `RespondLayer::new().empty_body()` where it is `Default`",
    note = "axum's body comes with mainstay's feature `axum`, tonic's with `tonic`, reqwest's with `reqwest`, http-body-util's `Full` with `hyper`"
)]
pub trait RejectionBody {
    /// A body of these bytes; there may be none.
    fn from_bytes(bytes: Bytes) -> Self;
}

macro_rules! bodies {
    ($($(#[$attribute:meta])* $body:ty => $make:expr),* $(,)?) => {$(
        $(#[$attribute])*
        impl RejectionBody for $body {
            fn from_bytes(bytes: Bytes) -> Self {
                $make(bytes)
            }
        }
    )*};
}

bodies! {
    Bytes => |bytes| bytes,
    Vec<u8> => |bytes: Bytes| bytes.into(),
    String => |bytes: Bytes| Self::from_utf8_lossy(&bytes).into_owned(),
    #[cfg(feature = "axum")] axum_core::body::Body => Self::from,
    #[cfg(feature = "reqwest")] reqwest::Body => Self::from,
    #[cfg(feature = "tonic")] tonic::body::Body => |bytes| Self::new(http_body_util::Full::new(bytes)),
    #[cfg(feature = "hyper")] http_body_util::Full<Bytes> => Self::new,
}

impl<B: RejectionBody> RejectionBody for GuardedBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::new(B::from_bytes(bytes), None)
    }
}

/// It is not one of the request's own, and so it is in no context.
impl<B: RejectionBody, S: Scope> RejectionBody for InContextBody<B, S> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::outside(B::from_bytes(bytes))
    }
}

/// How a [`RespondLayer`](crate::RespondLayer) makes a body.
pub trait MakeBody<ResB> {
    /// Whether what it makes says anything.
    const SPEAKS: bool;

    /// A body of these bytes.
    fn make(&self, bytes: Bytes) -> ResB;
}

/// Makes the bodies that are [known](RejectionBody).
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownBody;

impl<ResB: RejectionBody> MakeBody<ResB> for KnownBody {
    const SPEAKS: bool = true;

    fn make(&self, bytes: Bytes) -> ResB {
        ResB::from_bytes(bytes)
    }
}

/// Makes empty bodies.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyBody;

impl<ResB: Default> MakeBody<ResB> for EmptyBody {
    const SPEAKS: bool = false;

    fn make(&self, _: Bytes) -> ResB {
        ResB::default()
    }
}

/// Makes bodies by a closure.
pub struct BodyWith<F>(pub(super) Arc<F>);

impl<F, ResB> MakeBody<ResB> for BodyWith<F>
where
    F: Fn(Bytes) -> ResB,
{
    const SPEAKS: bool = true;

    fn make(&self, bytes: Bytes) -> ResB {
        (self.0)(bytes)
    }
}

impl<F> Clone for BodyWith<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for BodyWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyWith(..)")
    }
}

//! Bodies of the service's own type for the responses to rejections.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::http::{GuardedBody, InContextBody, InCorrelationBody};
use crate::vocabulary::sealed::Sealed;

/// A body type that can hold a short text: bytes and strings, and, each with its feature, the
/// bodies of axum, tonic, reqwest and http-body-util (`Full` and its boxes).
///
/// Implement it for your own body type.
#[diagnostic::on_unimplemented(
    message = "mainstay cannot make a body of type `{Self}` for the response to a rejection",
    label = "unknown body type",
    note = "make the body with a closure: `RespondLayer::new().body_with(|json: Bytes| ...)`, or use an empty one: `RespondLayer::new().empty_body()` if the type is `Default`",
    note = "a standard stack needs a known body only from its request layers: outside of the layer that changes the body, add `.with_request_layer(MapResponseLayer::new(|response: http::Response<_>| response.map(axum::body::Body::new)))` (`tower::util::MapResponseLayer`; or `tonic::body::Body::new`, or http-body-util's `UnsyncBoxBody::new`)",
    note = "axum's body needs mainstay's feature `axum`, tonic's `tonic`, reqwest's `reqwest`, http-body-util's `Full`, `BoxBody` and `UnsyncBoxBody` need `hyper` or `tonic`"
)]
pub trait RejectionBody {
    /// A body of these bytes, which may be empty.
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
    #[cfg(any(feature = "hyper", feature = "tonic"))] http_body_util::Full<Bytes> => Self::new,
}

/// http-body-util's boxes, with any error type: a text has no error.
#[cfg(any(feature = "hyper", feature = "tonic"))]
mod boxes {
    use bytes::Bytes;
    use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
    use http_body_util::{BodyExt as _, Full};

    use super::RejectionBody;

    impl<E> RejectionBody for BoxBody<Bytes, E> {
        fn from_bytes(bytes: Bytes) -> Self {
            Self::new(Full::new(bytes).map_err(|error| match error {}))
        }
    }

    impl<E> RejectionBody for UnsyncBoxBody<Bytes, E> {
        fn from_bytes(bytes: Bytes) -> Self {
            Self::new(Full::new(bytes).map_err(|error| match error {}))
        }
    }
}

impl<B: RejectionBody> RejectionBody for GuardedBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::new(B::from_bytes(bytes), None)
    }
}

/// Outside of the request's context, because no user code runs in it.
impl<B: RejectionBody> RejectionBody for InContextBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::outside(B::from_bytes(bytes))
    }
}

/// Outside of the request's span, because no user code runs in it.
impl<B: RejectionBody> RejectionBody for InCorrelationBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::outside(B::from_bytes(bytes))
    }
}

/// How a [`RespondLayer`](crate::RespondLayer) makes a body.
///
/// This trait is sealed: only mainstay implements it.
pub trait MakeBody<ResB>: Sealed {
    /// Whether the bodies have content.
    const HAS_CONTENT: bool;

    /// A body of these bytes.
    fn make(&self, bytes: Bytes) -> ResB;
}

/// Makes [known](RejectionBody) bodies.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownBody;

impl Sealed for KnownBody {}

impl<ResB: RejectionBody> MakeBody<ResB> for KnownBody {
    const HAS_CONTENT: bool = true;

    fn make(&self, bytes: Bytes) -> ResB {
        ResB::from_bytes(bytes)
    }
}

/// Makes empty bodies.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyBody;

impl Sealed for EmptyBody {}

impl<ResB: Default> MakeBody<ResB> for EmptyBody {
    const HAS_CONTENT: bool = false;

    fn make(&self, _: Bytes) -> ResB {
        ResB::default()
    }
}

/// Makes bodies with a closure.
pub struct BodyWith<F>(pub(super) Arc<F>);

impl<F> Sealed for BodyWith<F> {}

impl<F, ResB> MakeBody<ResB> for BodyWith<F>
where
    F: Fn(Bytes) -> ResB,
{
    const HAS_CONTENT: bool = true;

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

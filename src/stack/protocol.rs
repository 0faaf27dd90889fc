//! What the stacks of a client do not have in common.

use super::judge::{Judge, Tracker};
use crate::grpc::{EarlyTrailers, GrpcRetry};
use crate::http::HttpRetry;
use crate::retry::{AsItComes, RetryBuilder};

/// A protocol that a [`ClientStack`](super::ClientStack) speaks: [`Http`] or [`Grpc`].
pub trait Protocol: sealed::Sealed + Copy + 'static {
    /// What is tried again.
    type Policy;

    /// How a response is received before that is decided.
    type Receive;

    #[doc(hidden)]
    const NAME: &'static str;
    /// Where the deadline is written to, if the layer that does it is not asked.
    #[doc(hidden)]
    const DEADLINE: Option<&'static str>;
    #[doc(hidden)]
    const TRACKER: Tracker;
    #[doc(hidden)]
    fn retry() -> RetryBuilder<Self::Policy, Self::Receive>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Http {}
    impl Sealed for super::Grpc {}
}

/// HTTP, of any version, by whatever client.
#[derive(Debug, Clone, Copy)]
pub struct Http;

/// gRPC over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Grpc;

impl Protocol for Http {
    type Policy = HttpRetry;
    type Receive = AsItComes;
    const NAME: &'static str = "http client";
    const DEADLINE: Option<&'static str> = None;
    const TRACKER: Tracker = Judge::HTTP;

    fn retry() -> RetryBuilder<HttpRetry> {
        crate::http::retry()
    }
}

impl Protocol for Grpc {
    type Policy = GrpcRetry;
    type Receive = EarlyTrailers;
    const NAME: &'static str = "grpc client";
    const DEADLINE: Option<&'static str> = Some("grpc-timeout");
    const TRACKER: Tracker = Judge::GRPC;

    fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
        crate::grpc::retry()
    }
}

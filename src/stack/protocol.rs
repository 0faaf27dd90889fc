//! What differs between the stacks of HTTP and gRPC clients.

use crate::layers::retry::{AsItComes, RetryBuilder};
use crate::protocol::grpc::{EarlyTrailers, GrpcClassifier, GrpcRetry};
use crate::protocol::http::{HttpClassifier, HttpRetry};

/// The protocol of a [`ClientStack`](super::ClientStack): [`Http`] or [`Grpc`].
pub trait Protocol: sealed::Sealed {
    /// Classifies responses, unless the stack has a classifier of your own.
    type Classifier: Clone + 'static;

    /// Decides what is retried.
    type Policy;

    /// How a response is received before that is decided.
    type Receive;

    #[doc(hidden)]
    const NAME: &'static str;
    /// Where the deadline is written to, if the layer that does it is not asked.
    #[doc(hidden)]
    const DEADLINE: Option<&'static str>;
    #[doc(hidden)]
    const CLASSIFIER: Self::Classifier;
    #[doc(hidden)]
    fn retry() -> RetryBuilder<Self::Policy, Self::Receive>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Http {}
    impl Sealed for super::Grpc {}
}

/// HTTP of any version, by any client.
#[derive(Debug, Clone, Copy)]
pub struct Http;

/// gRPC over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Grpc;

impl Protocol for Http {
    type Classifier = HttpClassifier;
    type Policy = HttpRetry;
    type Receive = AsItComes;
    const NAME: &'static str = "http client";
    const DEADLINE: Option<&'static str> = None;
    const CLASSIFIER: HttpClassifier = HttpClassifier;

    fn retry() -> RetryBuilder<HttpRetry> {
        crate::protocol::http::retry()
    }
}

impl Protocol for Grpc {
    type Classifier = GrpcClassifier;
    type Policy = GrpcRetry;
    type Receive = EarlyTrailers;
    const NAME: &'static str = "grpc client";
    const DEADLINE: Option<&'static str> = Some("grpc-timeout");
    const CLASSIFIER: GrpcClassifier = GrpcClassifier::new();

    fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
        crate::protocol::grpc::retry()
    }
}

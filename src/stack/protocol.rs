//! The differences between the stacks of HTTP and gRPC clients.

use super::keys::StackKeying;
use crate::layers::retry::{RetryBuilder, Unchanged};
use crate::protocol::grpc::{EarlyTrailers, GrpcClassifier, GrpcRetry};
use crate::protocol::http::{HttpClassifier, HttpRetry};
use crate::vocabulary::sealed::Sealed;

/// The protocol of a [`ClientStack`](super::ClientStack): [`Http`] or [`Grpc`].
///
/// This trait is sealed: only mainstay implements it.
pub trait Protocol: Sealed {
    /// The default classifier.
    type Classifier: Clone + 'static;

    /// The retry policy.
    type Policy;

    /// How a response is received before the retry policy decides.
    type Receive;

    #[doc(hidden)]
    const NAME: &'static str;
    /// The header of the deadline, unless the deadline layer chooses it.
    #[doc(hidden)]
    const DEADLINE: Option<&'static str>;
    #[doc(hidden)]
    const CLASSIFIER: Self::Classifier;
    /// The keys, unless they are set.
    #[doc(hidden)]
    fn keying() -> StackKeying;
    #[doc(hidden)]
    fn retry() -> RetryBuilder<Self::Policy, Self::Receive>;
}

impl Sealed for Http {}
impl Sealed for Grpc {}

/// HTTP of any version, with any client.
#[derive(Debug, Clone, Copy)]
pub struct Http;

/// gRPC over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Grpc;

impl Protocol for Http {
    type Classifier = HttpClassifier;
    type Policy = HttpRetry;
    type Receive = Unchanged;
    const NAME: &'static str = "http client";
    const DEADLINE: Option<&'static str> = None;
    const CLASSIFIER: HttpClassifier = HttpClassifier;

    fn keying() -> StackKeying {
        StackKeying::by_authority()
    }

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

    fn keying() -> StackKeying {
        StackKeying::default()
    }

    fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
        crate::protocol::grpc::retry()
    }
}

//! What the stacks of a client do not have in common.

use std::marker::PhantomData;

use crate::grpc::{EarlyTrailers, GrpcClassifier, GrpcRetry};
use crate::http::{HttpClassifier, HttpRetry};
use crate::retry::{AsItComes, RetryBuilder};

/// A protocol that a [`ClientStack`](super::ClientStack) speaks, and how it judges responses: [`Http`] or [`Grpc`].
pub trait Protocol: sealed::Sealed {
    /// How responses are judged.
    type Classifier: Clone;

    /// How responses are judged where nothing is said of it.
    type Usual: Clone;

    /// The same protocol, whose responses are judged in another way.
    type With<C: Clone>: Protocol<Classifier = C, Policy = Self::Policy, Receive = Self::Receive>;

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
    const USUAL: Self::Usual;
    #[doc(hidden)]
    fn retry() -> RetryBuilder<Self::Policy, Self::Receive>;
}

mod sealed {
    pub trait Sealed {}
    impl<C> Sealed for super::Http<C> {}
    impl<C> Sealed for super::Grpc<C> {}
}

/// HTTP, of any version, by whatever client; its responses are judged by `C`.
#[derive(Debug, Clone, Copy)]
pub struct Http<C = HttpClassifier>(PhantomData<C>);

/// gRPC over HTTP/2; its responses are judged by `C`.
#[derive(Debug, Clone, Copy)]
pub struct Grpc<C = GrpcClassifier>(PhantomData<C>);

impl<C: Clone> Protocol for Http<C> {
    type Classifier = C;
    type Usual = HttpClassifier;
    type With<D: Clone> = Http<D>;
    type Policy = HttpRetry;
    type Receive = AsItComes;
    const NAME: &'static str = "http client";
    const DEADLINE: Option<&'static str> = None;
    const USUAL: HttpClassifier = HttpClassifier;

    fn retry() -> RetryBuilder<HttpRetry> {
        crate::http::retry()
    }
}

impl<C: Clone> Protocol for Grpc<C> {
    type Classifier = C;
    type Usual = GrpcClassifier;
    type With<D: Clone> = Grpc<D>;
    type Policy = GrpcRetry;
    type Receive = EarlyTrailers;
    const NAME: &'static str = "grpc client";
    const DEADLINE: Option<&'static str> = Some("grpc-timeout");
    const USUAL: GrpcClassifier = GrpcClassifier::new();

    fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
        crate::grpc::retry()
    }
}

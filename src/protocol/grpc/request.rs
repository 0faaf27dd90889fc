//! gRPC requests.

use crate::protocol::http::HttpRequest;
use crate::vocabulary::sealed::Sealed;

/// A type that can be a gRPC request: any `http::Request`.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a gRPC request",
    note = "`mainstay::grpc::client` is for tonic's `Channel`, or any other service of `http::Request`; use `mainstay::reqwest::client` for `reqwest::Client`, and `mainstay::http::client` for hyper-util's client"
)]
pub trait GrpcRequest: Sealed + HttpRequest {}

impl<B> Sealed for http::Request<B> {}
impl<B: 'static> GrpcRequest for http::Request<B> {}

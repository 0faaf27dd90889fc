//! gRPC requests.

use crate::protocol::http::HttpRequest;

/// A type that can be a gRPC request: any `http::Request`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a gRPC request",
    note = "`mainstay::grpc::client` is for tonic's `Channel`, or any other service of `http::Request`; use `mainstay::reqwest::client` for `reqwest::Client`, and `mainstay::http::client` for hyper-util's client"
)]
pub trait GrpcRequest: HttpRequest {}

impl<B: 'static> GrpcRequest for http::Request<B> {}

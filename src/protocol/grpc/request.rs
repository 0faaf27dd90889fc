//! The requests of gRPC.

use crate::protocol::http::HttpRequest;

/// A request that can be one of gRPC: any `http::Request`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a request of gRPC",
    note = "`mainstay::grpc::client` is for tonic's `Channel`, or any other service of `http::Request`; for `reqwest::Client` there is `mainstay::reqwest::client`, for hyper-util's client `mainstay::http::client`"
)]
pub trait GrpcRequest: HttpRequest {}

impl<B: 'static> GrpcRequest for http::Request<B> {}

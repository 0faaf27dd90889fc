//! HTTP and gRPC for the layers, without a framework.

#[cfg(feature = "http")]
pub(crate) mod grpc;
#[cfg(feature = "http")]
pub(crate) mod http;
#[cfg(feature = "http")]
pub mod respond;

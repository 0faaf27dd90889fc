//! The stacks that are measured: the README's, in one place.

use std::time::Duration;

use mainstay::stack::ServerStack;
use mainstay::{ConfigError, grpc, http};

const LIMIT: Duration = Duration::from_secs(2);

/// Around an axum router's routes.
pub(crate) fn http_server() -> Result<ServerStack, ConfigError> {
    http::server("orders").timeout(LIMIT).build()
}

/// Around a tonic server's services.
pub(crate) fn grpc_server() -> Result<ServerStack, ConfigError> {
    grpc::server("users").timeout(LIMIT).build()
}

/// Around a client of reqwest.
pub(crate) fn http_client() -> Result<http::ClientStack, ConfigError> {
    http::client("payments").timeout(LIMIT).build()
}

/// Around a channel of tonic.
pub(crate) fn grpc_client() -> Result<grpc::ClientStack, ConfigError> {
    grpc::client("users").timeout(LIMIT).build()
}

//! gRPC statuses, trailers and methods for the layers.

mod classify;
mod code;
mod errors;
mod keys;
mod layers;
mod peek;
mod pushback;
mod request;
mod retry;
mod rules;
#[cfg(feature = "tonic")]
mod status;

pub use classify::GrpcClassifier;
pub use code::Code;
pub(crate) use code::GRPC_STATUS;
pub(crate) use errors::{Cause, cause};
pub use keys::{ByMethod, by_method};
pub use layers::{bulkhead, circuit_breaker, load_shed, rate_limit, retry};
pub use peek::{EarlyTrailers, GrpcResponse, Peeked};
pub use request::GrpcRequest;
pub use retry::GrpcRetry;

/// The same as [`http::timeout`](crate::http::timeout()), which also supports gRPC.
pub use crate::protocol::http::timeout;

pub(crate) use pushback::{PUSHBACK, millis};

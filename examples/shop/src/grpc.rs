//! What the gRPC services and their clients share.

use std::time::Duration;

use mainstay::grpc::{self, Code as GrpcCode, GrpcRetry};
use mainstay::shutdown::Shutdown;
use mainstay::stack::{ClientStack, Grpc};
use mainstay::{BoxError, ConfigError, Rejection};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

use crate::message::{self, Failure};
use crate::stacks;

/// A channel through mainstay's layers.
pub type Client = grpc::Client<Channel>;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_millis(500);

/// A client of an upstream at HOST:PORT, which connects when it is called.
///
/// All methods of the shop only read, so every call may be repeated. `timeout` is for all attempts,
/// and `attempt` for each.
///
/// # Errors
///
/// The address is none, or the times contradict each other.
pub fn client(
    upstream: &str,
    address: &str,
    timeout: Duration,
    attempt: Duration,
) -> Result<Client, BoxError> {
    let repeatable = GrpcRetry::new().also_code(GrpcCode::DeadlineExceeded);
    let stack = grpc::client(upstream)
        .timeout(timeout)
        .attempt_timeout(attempt)
        .retry(grpc::retry().attempts(2).policy(repeatable))
        .circuit_breaker(
            // Open after the first failures of a quiet hour, too, and closed soon after the repair.
            grpc::circuit_breaker()
                .min_calls(10)
                .open_for(Duration::from_secs(1))
                .open_max(Duration::from_secs(5)),
        )
        .build()?;
    let stack = if stacks::unless_removed(()).is_some() {
        stack
    } else {
        bare(upstream)?
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        format!("{upstream} = {address} is refused: must be HOST:PORT ({error})")
    })?;
    Ok(stack.wrap(endpoint.connect_timeout(CONNECT).connect_lazy()))
}

/// A stack without layers.
fn bare(upstream: &str) -> Result<ClientStack<Grpc>, ConfigError> {
    let stack = grpc::client(upstream).without_timeout().without_retry();
    let stack = stack.without_circuit_breaker().without_deadline();
    stack.without_correlation().build()
}

/// Serves these routes behind the stack of a server, until the shutdown.
///
/// # Errors
///
/// The server failed, or had to be cut off.
pub async fn serve(
    service: &str,
    listener: TcpListener,
    routes: Routes,
    shutdown: &Shutdown,
) -> Result<(), BoxError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let closing = shutdown.closing();
    match stacks::unless_removed(grpc::server(service).build()?) {
        Some(stack) => {
            let server = Server::builder().layer(stack).add_routes(routes);
            let server = server.serve_with_incoming_shutdown(incoming, closing);
            shutdown.run(server).await??;
        }
        None => {
            let server = Server::builder().add_routes(routes);
            let server = server.serve_with_incoming_shutdown(incoming, closing);
            shutdown.run(server).await??;
        }
    }
    Ok(())
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = match failure.code {
            message::Code::Invalid => Code::InvalidArgument,
            message::Code::UnknownPattern => Code::Unimplemented,
            message::Code::NotFound => Code::NotFound,
            message::Code::Declined => Code::FailedPrecondition,
            message::Code::Overloaded | message::Code::NotSent | message::Code::Lost => {
                Code::Unavailable
            }
            message::Code::DeadlineExceeded => Code::DeadlineExceeded,
            message::Code::Internal => Code::Internal,
            message::Code::Unknown => Code::Unknown,
        };
        Self::new(code, failure.message)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // A layer's rejection knows more than its status.
        if let Some(rejection) = Rejection::find(&status) {
            return rejection.clone().into();
        }
        let code = match status.code() {
            Code::InvalidArgument => message::Code::Invalid,
            Code::Unimplemented => message::Code::UnknownPattern,
            Code::NotFound => message::Code::NotFound,
            Code::FailedPrecondition => message::Code::Declined,
            Code::Unavailable | Code::ResourceExhausted => message::Code::Overloaded,
            Code::DeadlineExceeded => message::Code::DeadlineExceeded,
            Code::Internal => message::Code::Internal,
            _ => message::Code::Unknown,
        };
        Self::new(code, status.message())
    }
}

//! The standard stacks of gRPC.

use tower_layer::Identity;

use super::{AttemptService, ClientBuilder, ClientService, Grpc, ServerBuilder};

/// Builds the standard stack of a gRPC server: correlation, respond, timeout, rate limit (off by
/// default), load shed, bulkhead.
///
/// ```no_run
/// # #[cfg(feature = "tonic")]
/// # fn example() -> Result<(), mainstay::ConfigError> {
/// use std::time::Duration;
/// use tonic::transport::Server;
///
/// let server = Server::builder()
///     .layer(mainstay::grpc::server("users").timeout(Duration::from_secs(2)).build()?);
/// // server.add_service(UsersServer::new(..)).serve(address).await
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
///
/// It is the same as [`http::server`](crate::http::server): both answer each caller in its
/// protocol. See [`mainstay::stack`](crate::stack) for its layers, and [`ServerBuilder`] for its
/// settings.
pub fn server(name: impl Into<String>) -> ServerBuilder {
    ServerBuilder::new("grpc server", name.into())
}

/// Builds the standard stack of a gRPC client: correlation, timeout, retry, rate limit (off by
/// default), circuit breaker, bulkhead, attempt timeout, deadline.
///
/// ```no_run
/// # #[cfg(feature = "tonic")]
/// # fn example() -> Result<(), mainstay::ConfigError> {
/// use std::time::Duration;
/// use tonic::transport::Endpoint;
///
/// let channel = Endpoint::from_static("http://[::1]:50051").connect_lazy();
/// let users = mainstay::grpc::client("users")
///     .timeout(Duration::from_secs(1))
///     .retry(3)
///     .build()?
///     .wrap(channel);
/// // let mut users = UsersClient::new(users);
/// # let _ = users;
/// # Ok(())
/// # }
/// ```
///
/// See [`mainstay::stack`](crate::stack) for its layers, and [`ClientBuilder`] for its settings.
pub fn client(name: impl Into<String>) -> ClientBuilder<Grpc> {
    ClientBuilder::new(name.into())
}

/// The stack that [`client`] builds.
pub type ClientStack<W = Identity> = crate::stack::ClientStack<Grpc, W>;

/// A client in the stack that [`client`] builds: `Client<tonic::transport::Channel>`, say.
pub type Client<S> = ClientService<AttemptService<S, Grpc>, Grpc>;

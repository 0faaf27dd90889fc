//! The stacks that are measured: the README's, in one place.
//!
//! Macros, because nobody wants to write the types. Each can fail with a `ConfigError`.

/// Around an axum router's routes.
macro_rules! http_server {
    () => {
        ServiceBuilder::new()
            .layer(CorrelationLayer::server())
            .layer(RespondLayer::new())
            .layer(
                mainstay::http::timeout()
                    .timeout(Duration::from_secs(2))
                    .build()?,
            )
            .layer(mainstay::http::load_shed().name("orders").build()?)
            .layer(
                mainstay::http::bulkhead()
                    .name("orders")
                    .limit(256)
                    .build()?,
            )
    };
}

/// Around a tonic server's services.
macro_rules! grpc_server {
    () => {
        ServiceBuilder::new()
            .layer(CorrelationLayer::server())
            .layer(RespondLayer::new())
            .layer(
                mainstay::grpc::timeout()
                    .timeout(Duration::from_secs(2))
                    .build()?,
            )
            .layer(mainstay::grpc::load_shed().name("users").build()?)
            .layer(
                mainstay::grpc::bulkhead()
                    .name("users")
                    .limit(256)
                    .build()?,
            )
            .into_inner()
    };
}

/// Around a client of reqwest.
macro_rules! http_client {
    () => {
        ServiceBuilder::new()
            .layer(CorrelationLayer::client())
            .layer(TimeoutLayer::new(Duration::from_secs(2)))
            .layer(
                mainstay::http::retry()
                    .name("payments")
                    .attempts(3)
                    .build()?,
            )
            .layer(mainstay::http::circuit_breaker().name("payments").build()?)
            .layer(
                mainstay::http::bulkhead()
                    .name("payments")
                    .limit(64)
                    .build()?,
            )
            .layer(TimeoutLayer::new(Duration::from_millis(500)))
            .layer(mainstay::http::DeadlineLayer::new())
    };
}

/// Around a channel of tonic.
macro_rules! grpc_client {
    () => {
        ServiceBuilder::new()
            .layer(CorrelationLayer::client())
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .layer(mainstay::grpc::retry().name("users").build()?)
            .layer(mainstay::grpc::circuit_breaker().name("users").build()?)
            .layer(mainstay::grpc::bulkhead().name("users").limit(64).build()?)
            .layer(mainstay::http::DeadlineLayer::new())
    };
}

pub(crate) use {grpc_client, grpc_server, http_client, http_server};

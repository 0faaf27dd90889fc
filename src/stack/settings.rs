//! The settings of the standard stacks.

use super::live::stack_settings;
use crate::layers::timeout::OwnLimit;
use crate::layers::{bulkhead, circuit_breaker, load_shed, rate_limit, retry, timeout};
#[cfg(feature = "http")]
use crate::protocol::http::TimeoutSettings;

/// A stack's bulkhead has no limit until one is set.
fn no_limit() -> bulkhead::Settings {
    bulkhead::Settings {
        limit: None,
        ..bulkhead::Settings::default()
    }
}

/// No limit for attempts.
fn no_attempt_timeout() -> timeout::Settings {
    timeout::Settings {
        timeout: OwnLimit::Off,
        ..timeout::Settings::default()
    }
}

#[cfg(feature = "http")]
stack_settings! {
    /// The settings of the standard stack of an HTTP or gRPC client, with its defaults: see
    /// [`ClientBuilder`](super::ClientBuilder) for the reasons, and
    /// [`mainstay::settings`](crate::settings) for configuration files.
    pub struct ClientSettings of "client", handles ClientHandles {
        /// The time limit of whole calls. Default 30 seconds to the head of the response, for calls
        /// without a deadline.
        timeout(Timeout): TimeoutSettings = TimeoutSettings::default();
        /// The retries. Default 3 attempts.
        retry(Retry): retry::Settings = retry::Settings::default();
        /// The rate limit of attempts. Default none.
        rate_limit(RateLimit): Option<rate_limit::Settings> = None;
        /// The circuit breaker.
        circuit_breaker(CircuitBreaker): circuit_breaker::Settings = circuit_breaker::Settings::default();
        /// The bulkhead. Default no limit.
        bulkhead(Bulkhead): bulkhead::Settings = no_limit();
        /// The time limit of each attempt. Default none.
        attempt_timeout(AttemptTimeout): timeout::Settings = no_attempt_timeout();
    }
}

#[cfg(feature = "http")]
stack_settings! {
    /// The settings of the standard stack of an HTTP or gRPC server, with its defaults: see
    /// [`ServerBuilder`](super::ServerBuilder) for the reasons, and
    /// [`mainstay::settings`](crate::settings) for configuration files.
    pub struct ServerSettings of "server", handles ServerHandles {
        /// The time limit. Default 30 seconds to the head of the response.
        timeout(Timeout): TimeoutSettings = TimeoutSettings::default();
        /// The rate limit. Default none.
        rate_limit(RateLimit): Option<rate_limit::Settings> = None;
        /// The load shedder. Default by scheduler lag.
        load_shed(LoadShed): load_shed::Settings = load_shed::Settings::default();
        /// The bulkhead. Default no limit.
        bulkhead(Bulkhead): bulkhead::Settings = no_limit();
    }
}

stack_settings! {
    /// The settings of the standard stack of a client for any request type, with its defaults: see
    /// [`AnyClientBuilder`](super::AnyClientBuilder) for the reasons, and
    /// [`mainstay::settings`](crate::settings) for configuration files.
    pub struct AnyClientSettings of "client", handles AnyClientHandles {
        /// The time limit of whole calls. Default 30 seconds, for calls without a deadline.
        timeout(Timeout): timeout::Settings = timeout::Settings::default();
        /// The retries. Default 3 attempts, if the client was built with a retry policy.
        retry(Retry): retry::Settings = retry::Settings::default();
        /// The rate limit of attempts. Default none.
        rate_limit(RateLimit): Option<rate_limit::Settings> = None;
        /// The circuit breaker.
        circuit_breaker(CircuitBreaker): circuit_breaker::Settings = circuit_breaker::Settings::default();
        /// The bulkhead. Default no limit.
        bulkhead(Bulkhead): bulkhead::Settings = no_limit();
        /// The time limit of each attempt. Default none.
        attempt_timeout(AttemptTimeout): timeout::Settings = no_attempt_timeout();
    }
}

stack_settings! {
    /// The settings of the standard stack of a server for any request type, with its defaults: see
    /// [`AnyServerBuilder`](super::AnyServerBuilder) for the reasons, and
    /// [`mainstay::settings`](crate::settings) for configuration files.
    pub struct AnyServerSettings of "server", handles AnyServerHandles {
        /// The time limit. Default 30 seconds.
        timeout(Timeout): timeout::Settings = timeout::Settings::default();
        /// The rate limit. Default none.
        rate_limit(RateLimit): Option<rate_limit::Settings> = None;
        /// The load shedder. Default by scheduler lag.
        load_shed(LoadShed): load_shed::Settings = load_shed::Settings::default();
        /// The bulkhead. Default no limit.
        bulkhead(Bulkhead): bulkhead::Settings = no_limit();
    }
}

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use super::DeadlineHeader;
use super::wire::{GRPC_TIMEOUT, TIMEOUT_MS};
use crate::layers::deadline::{Deadline, KIND, LAYER};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::name::InstanceName;

/// Writes the remaining time of the deadline into each request. It is the innermost layer of a
/// client.
///
/// Without it, a server continues to work for a caller that has given up. Inside of a retry, each
/// attempt gets its own remaining time.
///
/// ```
/// use http::{Request, Response};
/// use mainstay::http::DeadlineLayer;
/// use mainstay::TimeoutLayer;
/// use std::time::Duration;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut client = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(2)))
///     .layer(DeadlineLayer::new())
///     .service(service_fn(|request: Request<()>| async move {
///         let left = request.headers()["x-request-timeout-ms"].to_str().unwrap();
///         assert!((1_900..=2_000).contains(&left.parse::<u64>().unwrap()));
///         Ok::<_, std::io::Error>(Response::new(()))
///     }));
///
/// client.ready().await.unwrap().call(Request::new(())).await.unwrap();
/// # }
/// ```
///
/// # The header
///
/// The deadline is that of the [`Context`](crate::Context): the deadline of the request being
/// served, or of an outer [`TimeoutLayer`](crate::TimeoutLayer), whichever is earlier. A default
/// time limit is not written, because the next service would apply it to calls that nobody limited,
/// such as gRPC streams.
///
/// Requests with gRPC's `content-type` get `grpc-timeout`, all others `x-request-timeout-ms` in
/// milliseconds. The value is rounded down, so that no server takes longer. A remainder under a
/// millisecond becomes one, because zero is a deadline that has passed. A shorter limit that the
/// request already has stays (tonic's `Request::set_timeout`). Without a deadline the layer changes
/// nothing.
///
/// `grpc-timeout` differs in each request, so it is marked as sensitive and stays out of HTTP/2's
/// table of headers. Its `Debug` prints `Sensitive`.
///
/// The layer works on `http::Request` and `reqwest::Request`. Put `tower::buffer` inside of it: a
/// buffer calls from its own task, which has no context.
///
/// # Rejections
///
/// A request whose deadline has passed is rejected as
/// [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed), before it reaches the inner service.
///
/// # Clones
///
/// Clones share nothing but the settings.
///
/// # Cancellation
///
/// Dropping the future drops the call.
///
/// # Cost
///
/// One clock reading, and one allocation for the value of the header. Neither without a deadline.
#[derive(Clone)]
pub struct DeadlineLayer {
    /// `None` if the layer is off.
    header: Option<HeaderName>,
    emitter: Shared<Emitter>,
    /// Whether the name and the observer were set.
    is_named: bool,
    is_observed: bool,
}

impl DeadlineLayer {
    /// Creates the layer, with the header `x-request-timeout-ms` for requests that are not gRPC.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: Some(TIMEOUT_MS.clone()),
            ..Self::off()
        }
    }

    /// Sets the header for requests that are not gRPC. Default `x-request-timeout-ms`.
    ///
    /// # Errors
    ///
    /// When it is not the name of a header, or when it is gRPC's.
    pub fn header(mut self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.header = Some(checked(LAYER, name.as_ref())?);
        Ok(self)
    }

    /// A layer of the same type that only grows the error.
    pub(crate) fn off() -> Self {
        Self {
            header: None,
            emitter: Shared::new(Emitter::of_default(&KIND)),
            is_named: false,
            is_observed: false,
        }
    }

    /// Sets the name of the instance in rejections and events. Default `default`, or in a standard
    /// stack the name of the stack.
    ///
    /// # Errors
    ///
    /// When the name is invalid.
    pub fn named(mut self, name: &str) -> Result<Self, ConfigError> {
        let instance = InstanceName::new(&KIND, Some(name))?;
        self.emitter = Shared::new(self.emitter.renamed(instance));
        self.is_named = true;
        Ok(self)
    }

    /// Sets the observer. Default none, or in a standard stack the observer of the stack.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.emitter = Shared::new(self.emitter.observed_by(Some(Arc::new(observer))));
        self.is_observed = true;
        self
    }

    /// Sets the name and the observer of a stack, unless the layer has its own.
    pub(crate) fn adopt(
        mut self,
        name: &str,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, ConfigError> {
        if !self.is_observed {
            self.emitter = Shared::new(self.emitter.observed_by(observer));
        }
        if self.is_named {
            return Ok(self);
        }
        self.named(name)
    }

    /// The header for requests that are not gRPC; empty if the layer is off.
    pub(crate) fn header_name(&self) -> &str {
        self.header.as_ref().map_or("", HeaderName::as_str)
    }
}

/// Checks the name of a header for milliseconds.
pub(crate) fn checked(component: &'static str, name: &str) -> Result<HeaderName, ConfigError> {
    let rule = match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) if name.len() <= 64 && header != GRPC_TIMEOUT => return Ok(header),
        Ok(header) if header == GRPC_TIMEOUT => {
            "must not be gRPC's header, which has another format"
        }
        _ => "must be the name of a header, of at most 64 bytes",
    };
    let shown: String = name.chars().take(64).collect();
    let shown = format_args!("{shown:?}").to_string();
    Err(ConfigError::new(component, "header", shown, rule))
}

impl Default for DeadlineLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S, DeadlineHeader>;

    fn layer(&self, inner: S) -> Self::Service {
        let writer = self.header.clone().map(DeadlineHeader);
        Deadline::new(inner, writer, self.emitter.clone())
    }
}

impl fmt::Debug for DeadlineLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineLayer")
            .field("header", &self.header)
            .finish()
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;

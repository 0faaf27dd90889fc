use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use super::service::Deadline;
use super::wire::{GRPC_TIMEOUT, TIMEOUT_MS};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::DEADLINE;
use crate::vocabulary::name::InstanceName;

const LAYER: &str = "deadline";

/// Writes what is left of the deadline into each request: for clients, innermost.
///
/// A server that is not told goes on working for a caller who has given up. Inside of a retry each attempt says what is left for it,
/// and not what was left for the first one.
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
///         let left: u64 = request.headers()["x-request-timeout-ms"].to_str().unwrap().parse().unwrap();
///         assert!(left > 1_900 && left <= 2_000);
///         Ok::<_, std::io::Error>(Response::new(()))
///     }));
///
/// client.ready().await.unwrap().call(Request::new(())).await.unwrap();
/// # }
/// ```
///
/// # What it writes
///
/// The deadline is the [`Context`](crate::Context)'s: that of the request which is being served, or of a
/// [`TimeoutLayer`](crate::TimeoutLayer) further out, whichever is earlier. A default limit that nobody set is not written: the next
/// service would end by it what nobody wants to end, such as a gRPC stream. Requests with gRPC's `content-type` get `grpc-timeout`, all others
/// `x-request-timeout-ms`, the number of milliseconds. Both are rounded down, so that nobody takes longer than there is; less than a
/// millisecond is written as one, because none means late already. What a request says itself is kept where it is shorter (tonic's
/// `Request::set_timeout`). Without a deadline nothing is written, and what is there is left. `grpc-timeout`, which is another one in each
/// request, is marked as sensitive, so that it takes no place in HTTP/2's table of headers; `Debug` of it says `Sensitive`.
///
/// It works on `http::Request` and `reqwest::Request`. The context is that of whoever calls it, so behind `tower::buffer`, which calls from a
/// task of its own, there is no deadline to be written: put the buffer inside.
///
/// # What it rejects
///
/// Requests whose deadline has passed, with [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed): the inner service is not called.
///
/// # What a clone shares
///
/// The settings only.
///
/// # Cancellation
///
/// Dropping the future drops the call.
///
/// # Cost
///
/// One reading of the clock, and one allocation for the value of the header. Neither, where there is no deadline.
#[derive(Clone)]
pub struct DeadlineLayer {
    /// None: switched off.
    header: Option<HeaderName>,
    emitter: Shared<Emitter>,
    /// Whether it has a name and an observer of its own.
    is_named: bool,
    is_observed: bool,
}

impl DeadlineLayer {
    /// With `x-request-timeout-ms` for what is not gRPC.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: Some(TIMEOUT_MS.clone()),
            ..Self::off()
        }
    }

    /// Writes this header in place of `x-request-timeout-ms`.
    ///
    /// # Errors
    ///
    /// When it is no name of a header, or gRPC's own.
    pub fn header(mut self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.header = Some(checked(LAYER, name.as_ref())?);
        Ok(self)
    }

    /// Switched off: calls pass untouched, and only the error grows. For a stack whose type is to be the same with it and without.
    pub(crate) fn off() -> Self {
        Self {
            header: None,
            emitter: Shared::new(Emitter::of_default(&DEADLINE)),
            is_named: false,
            is_observed: false,
        }
    }

    /// Names the instance, in rejections and events. Default `default`; in a standard stack, the
    /// name of the stack.
    ///
    /// # Errors
    ///
    /// When the name is refused.
    pub fn named(mut self, name: &str) -> Result<Self, ConfigError> {
        let instance = InstanceName::new(&DEADLINE, Some(name))?;
        self.emitter = Shared::new(self.emitter.renamed(instance));
        self.is_named = true;
        Ok(self)
    }

    /// Sets the observer of its decisions.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.emitter = Shared::new(self.emitter.observed_by(Some(Arc::new(observer))));
        self.is_observed = true;
        self
    }

    /// Takes the name and the observer of a stack, where it has none of its own.
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

    /// What it writes for what is not gRPC; empty where it is switched off.
    pub(crate) fn header_name(&self) -> &str {
        self.header.as_ref().map_or("", HeaderName::as_str)
    }
}

/// A header for milliseconds.
pub(crate) fn checked(component: &'static str, name: &str) -> Result<HeaderName, ConfigError> {
    let rule = match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) if name.len() <= 64 && header != GRPC_TIMEOUT => return Ok(header),
        Ok(header) if header == GRPC_TIMEOUT => "must not be gRPC's own, which counts otherwise",
        _ => "must be a header's name of at most 64 bytes",
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
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline::new(inner, self.header.clone(), self.emitter.clone())
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
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http::Request;
    use tower::{Service, ServiceExt, service_fn};

    use super::*;
    use crate::layers::timeout::TimeoutLayer;
    use crate::vocabulary::{reason::Reason, rejection::Rejection};

    /// The headers that a request arrives with, when there are so many milliseconds left for it.
    async fn arrives(layer: DeadlineLayer, millis: u64) -> Result<usize, Rejection> {
        let behind = layer.layer(service_fn(async |request: Request<()>| {
            Ok::<_, Infallible>(request.headers().len())
        }));
        // It is late before it comes to the deadline layer, and the time limit does not look before it has been polled.
        let late = service_fn(move |request| {
            let mut behind = behind.clone();
            async move {
                tokio::time::advance(Duration::from_millis(50)).await;
                behind.ready().await?.call(request).await
            }
        });
        let within = TimeoutLayer::new(Duration::from_millis(millis));
        let mut service = within.layer(late);
        service.ready().await?.call(Request::new(())).await
    }

    #[tokio::test(start_paused = true)]
    async fn switched_off_it_writes_nothing_and_rejects_nothing() {
        let on = arrives(DeadlineLayer::new(), 100).await;
        assert_eq!(on.unwrap(), 1);
        let on = arrives(DeadlineLayer::new(), 50).await.unwrap_err();
        assert_eq!(on.reason(), Reason::DeadlinePassed);
        for millis in [100, 50] {
            let off = arrives(DeadlineLayer::off(), millis).await;
            assert_eq!(off.unwrap(), 0);
        }
    }
}

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use tower_layer::Layer;

use super::answer::Style;
use super::body::{BodyWith, EmptyBody, KnownBody};
use super::errors::{MapErrorWith, Mapping, RejectionsOnly};
use super::service::Respond;
use crate::layers::keyed::Keying;
use crate::layers::rate_limit::RateLimitLayer;
use crate::vocabulary::config::ConfigError;

/// Turns rejections into responses: see the [module](crate::respond).
#[derive(Clone)]
pub struct RespondLayer<M = RejectionsOnly, B = KnownBody> {
    pub(crate) style: Style,
    pub(super) map: M,
    pub(super) body: B,
}

impl RespondLayer {
    /// A layer for a stack whose only errors are rejections, with a known body type.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            style: Style::DEFAULT,
            map: RejectionsOnly,
            body: KnownBody,
        }
    }
}

impl<M, B> RespondLayer<M, B> {
    /// The HTTP status for `Full` and `QueueTimeout`, the rejections of a bulkhead. Default 503;
    /// range 400 to 599.
    ///
    /// Use 429 if each caller has its own limit, and 503 if all callers share it. With 429 the gRPC
    /// code is `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`. The caller's circuit breakers and
    /// adaptive limits ignore both by default, because they say nothing about other callers' calls.
    ///
    /// # Errors
    ///
    /// If the status is not a client or server error: any other status would make a rejection look
    /// like a success, or break the connection.
    pub fn full_as(mut self, status: StatusCode) -> Result<Self, ConfigError> {
        if !status.is_client_error() && !status.is_server_error() {
            let rule = "must be from 400 to 599";
            return Err(ConfigError::new(
                "respond",
                "full_as",
                status.as_u16(),
                rule,
            ));
        }
        self.style.full = status;
        Ok(self)
    }

    /// Includes the rejecting layer and the name of its instance in responses. Default off.
    ///
    /// Problem details carry them as `layer` and `name`; a gRPC status has them in its message. For
    /// services whose callers are your own.
    #[must_use]
    pub fn show_names(mut self) -> Self {
        self.style.names = true;
        self
    }

    /// Adds `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) with the rate of this layer
    /// to responses to its rejections. Default off: callers only see when to retry.
    ///
    /// The rate is the one in force at the response, also after an update of the layer or of a
    /// [key](crate::keyed). The window is rounded up to whole seconds: 10 permits per 100 ms are
    /// `q=100;w=1`. A second call of this method replaces the first. The policy is named `default`, or after the instance
    /// with [`show_names`](Self::show_names).
    ///
    /// ```
    /// use http::{Request, Response};
    /// use mainstay::{RateLimitLayer, RespondLayer};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
    /// let limit = RateLimitLayer::builder().per(30, Duration::from_secs(60)).burst(1).build()?;
    /// let mut service = ServiceBuilder::new()
    ///     .layer(RespondLayer::new().rate_limit_policy(&limit))
    ///     .layer(limit)
    ///     .service(service_fn(|_: Request<()>| async {
    ///         Ok::<_, Infallible>(Response::new(String::from("hello")))
    ///     }));
    ///
    /// let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    /// assert_eq!(response.status(), 200);
    /// let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    /// assert_eq!(response.status(), 429);
    /// assert_eq!(response.headers()["retry-after"], "2");
    /// assert_eq!(response.headers()["ratelimit"], r#""default";r=0;t=2"#);
    /// assert_eq!(response.headers()["ratelimit-policy"], r#""default";q=30;w=60"#);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rate_limit_policy<Mode, T, K: Keying>(
        mut self,
        layer: &RateLimitLayer<Mode, T, K>,
    ) -> Self {
        self.style.quota = Some(layer.handle());
        self
    }

    /// Answers errors that are not rejections with a closure. For stacks whose error is a
    /// [`mainstay::Error<E>`](crate::Error) (the closure gets the `E`), a
    /// [`BoxError`](crate::BoxError) or a `tonic::Status`.
    ///
    /// A gRPC request gets a gRPC status: the `grpc-status` of the closure's response, or else the
    /// code for its HTTP status. A HEAD request gets no body.
    ///
    /// ```
    /// use http::{Request, Response, StatusCode};
    /// use mainstay::{BulkheadLayer, RespondLayer};
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mut service = ServiceBuilder::new()
    ///     .layer(RespondLayer::new().map_error(|error: std::io::Error| {
    ///         let mut response = Response::new(error.to_string());
    ///         *response.status_mut() = StatusCode::BAD_GATEWAY;
    ///         response
    ///     }))
    ///     .layer(BulkheadLayer::new(8))
    ///     .service(service_fn(|_: Request<()>| async {
    ///         Err::<Response<String>, _>(std::io::Error::other("upstream is gone"))
    ///     }));
    ///
    /// let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    /// assert_eq!(response.status(), 502);
    /// # }
    /// ```
    #[must_use]
    pub fn map_error<E, ResB, F>(self, answer: F) -> RespondLayer<MapErrorWith<F, E>, B>
    where
        F: Fn(E) -> Response<ResB>,
    {
        RespondLayer {
            style: self.style,
            map: MapErrorWith::new(answer),
            body: self.body,
        }
    }

    /// Makes the body with a closure, for unknown body types. For gRPC and HEAD requests the bytes
    /// are empty, and the body must be at its end at once.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use mainstay::RespondLayer;
    ///
    /// struct MyBody(Option<Bytes>);
    ///
    /// let layer = RespondLayer::new().body_with(|json: Bytes| MyBody(Some(json)));
    /// ```
    #[must_use]
    pub fn body_with<ResB, F>(self, make: F) -> RespondLayer<M, BodyWith<F>>
    where
        F: Fn(Bytes) -> ResB,
    {
        RespondLayer {
            style: self.style,
            map: self.map,
            body: BodyWith(Arc::new(make)),
        }
    }

    /// Responds with an empty body, for body types that are [`Default`].
    #[must_use]
    pub fn empty_body(self) -> RespondLayer<M, EmptyBody> {
        RespondLayer {
            style: self.style,
            map: self.map,
            body: EmptyBody,
        }
    }
}

impl Default for RespondLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, M, B> Layer<S> for RespondLayer<M, B>
where
    M: Mapping + Clone,
    B: Clone,
{
    type Service = Respond<S, M, B>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond::new(inner, self.clone())
    }
}

impl<M: fmt::Debug, B: fmt::Debug> fmt::Debug for RespondLayer<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondLayer")
            .field("full_as", &self.style.full)
            .field("show_names", &self.style.names)
            .field("map_error", &self.map)
            .field("body", &self.body)
            .finish()
    }
}

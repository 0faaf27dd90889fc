use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use tower_layer::Layer;

use super::answer::{Look, Quota};
use super::body::{BodyWith, EmptyBody, KnownBody};
use super::errors::{MapErrorWith, Mapping, RejectionsOnly};
use super::service::Respond;
use crate::layers::rate_limit::RateLimitLayer;
use crate::vocabulary::config::ConfigError;

/// Turns rejections into responses: see the [module](crate::respond).
#[derive(Clone)]
pub struct RespondLayer<M = RejectionsOnly, B = KnownBody> {
    pub(crate) look: Look,
    pub(super) map: M,
    pub(super) body: B,
}

impl RespondLayer {
    /// For a stack in which only rejections can go wrong, with a known body.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            look: Look::DEFAULT,
            map: RejectionsOnly,
            body: KnownBody,
        }
    }
}

impl<M, B> RespondLayer<M, B> {
    /// With which status a full bulkhead (or a wait in its queue that was too long) is answered over HTTP: 503 by default.
    ///
    /// 429 is right where the limit is the caller's own: it has sent too much. 503 is right where it is everyone's. With 429 the
    /// gRPC code is `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`. Circuit breakers and adaptive limits of the caller ignore both
    /// by default, because they say nothing about other callers' calls.
    ///
    /// # Errors
    ///
    /// When it is no client or server error (400 to 599): anything else would make a rejection look like an answer, or break the
    /// connection.
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
        self.look.full = status;
        Ok(self)
    }

    /// Emit the caller which layer rejected and the name of its instance: in the problem details as `layer` and `name`, in gRPC in
    /// the message. For services whose callers are your own.
    #[must_use]
    pub fn show_names(mut self) -> Self {
        self.look.names = true;
        self
    }

    /// Adds the rate of this layer to the answers to its rejections, as `RateLimit-Policy`
    /// (draft-ietf-httpapi-ratelimit-headers). Default: callers only see when to come back.
    ///
    /// The window is rounded up to whole seconds: 10 permits for 100 ms are `q=100;w=1`. Of two rate
    /// limits, that of the last call is advertised. The policy is called `default`, or by the name of
    /// the instance with [`show_names`](Self::show_names).
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
    pub fn rate_limit_policy<Mode, T>(mut self, layer: &RateLimitLayer<Mode, T>) -> Self {
        let (permits, window) = layer.in_whole_seconds();
        self.look.quota = Some(Arc::new(Quota {
            name: layer.name().to_owned(),
            permits,
            window,
        }));
        self
    }

    /// Answers errors that are no rejection by a closure of the error: for stacks whose error is a [`mainstay::Error<E>`](crate::Error)
    /// (the closure gets the `E`), a [`BoxError`](crate::BoxError) or a `tonic::Status` (the closure gets what holds no rejection).
    ///
    /// A gRPC request is answered by a gRPC status all the same: by the closure's own, if its response carries a `grpc-status`, or else by
    /// the one that its HTTP status stands for. The answer to a HEAD goes without its body.
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
            look: self.look,
            map: MapErrorWith::new(answer),
            body: self.body,
        }
    }

    /// Makes the body of an answer by a closure of its bytes, for body types that are not known. In gRPC, and to a HEAD, there are no bytes,
    /// and what the closure makes of them must be a body that is at its end at once.
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
            look: self.look,
            map: self.map,
            body: BodyWith(Arc::new(make)),
        }
    }

    /// Answers without a body, for body types that are [`Default`].
    #[must_use]
    pub fn empty_body(self) -> RespondLayer<M, EmptyBody> {
        RespondLayer {
            look: self.look,
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
            .field("full_as", &self.look.full)
            .field("show_names", &self.look.names)
            .field("map_error", &self.map)
            .field("body", &self.body)
            .finish()
    }
}

//! `/livez` and `/readyz` over HTTP.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use super::Health;

/// Answers health checks over HTTP: made by [`Health::service`].
///
/// | path ends in | answer |
/// |---|---|
/// | `/livez` | 200: `{"live":true}` |
/// | `/readyz` | 200 if ready, otherwise 503: the [`Readiness`](super::Readiness) as JSON |
/// | anything else | 404 |
///
/// Answers are not cached (`cache-control: no-store`). Methods other than GET and HEAD are answered with
/// 405. The body of a request is not read.
///
/// The names of instances are in the answer to `/readyz`. Do not route it to the public.
///
/// With hyper, or as a part of tonic's router:
///
/// ```
/// use mainstay::health::Health;
/// use tonic::service::Routes;
///
/// let health = Health::global().service();
/// let router = Routes::default().into_axum_router().route_service("/readyz", health);
/// ```
#[derive(Debug, Clone)]
pub struct HealthService(Health);

impl HealthService {
    pub(super) fn new(health: Health) -> Self {
        Self(health)
    }

    fn answer(&self, method: &Method, path: &str) -> Response<HealthBody> {
        let is_at = |end: &str| path.trim_end_matches('/').ends_with(end);
        let (status, json) = if !matches!(*method, Method::GET | Method::HEAD) {
            (StatusCode::METHOD_NOT_ALLOWED, None)
        } else if is_at("/livez") {
            (StatusCode::OK, Some(r#"{"live":true}"#.to_owned()))
        } else if is_at("/readyz") {
            let readiness = self.0.readiness();
            let status = match readiness.ready {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Some(readiness.to_json()))
        } else {
            (StatusCode::NOT_FOUND, None)
        };
        let has_json = json.is_some();
        let json = json.filter(|_| *method != Method::HEAD).map(Bytes::from);
        let mut response = Response::new(HealthBody(json));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(CACHE_CONTROL, "no-store");
        if has_json {
            set(CONTENT_TYPE, "application/json");
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            set(ALLOW, "GET, HEAD");
        }
        response
    }
}

impl<B> Service<Request<B>> for HealthService {
    type Response = Response<HealthBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}

/// The body of [`HealthService`]'s responses.
#[derive(Debug)]
pub struct HealthBody(Option<Bytes>);

impl Body for HealthBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.0.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

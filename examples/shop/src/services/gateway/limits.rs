//! How many requests the users of a tenant may send together.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use mainstay::{BoxError, RespondLayer, http};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::auth::Caller;

/// The tenant that pays for more.
const PRO: &str = "pro";

/// Limits the rate of these routes for each tenant: `rate` a second for `pro`, and half of it for
/// all others.
pub(super) fn limit<S>(routes: Router<S>, rate: u32) -> Result<Router<S>, BoxError>
where
    S: Clone + Send + Sync + 'static,
{
    let limit = http::rate_limit()
        .name("tenant")
        .per(rate.div_ceil(2), Duration::from_secs(1))
        .keyed(tenant)
        .build()?;
    // A key has settings of its own only after its first call.
    let mut first = Request::new(Body::empty());
    first.extensions_mut().insert(Caller {
        user: String::new(),
        tenant: PRO.to_owned(),
    });
    let nothing = service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::empty())));
    drop(limit.layer(nothing).oneshot(first).now_or_never());
    if let Some(pro) = limit.handle().key(PRO) {
        let _changes = pro.change(|settings| settings.permits = rate)?;
    }
    let limit = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(limit);
    Ok(routes.layer(limit))
}

fn tenant(request: &Request) -> Cow<'_, str> {
    let caller: Option<&Caller> = request.extensions().get();
    caller.map_or("", |caller| &caller.tenant).into()
}

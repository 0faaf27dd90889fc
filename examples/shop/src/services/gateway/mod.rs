//! The door of the shop: authentication, limits for tenants, and one stack for each upstream.
//!
//! A request has five seconds, or less if its caller says so in `x-request-timeout-ms`. Each upstream
//! has less than the request, so that the gateway can still say which upstream did not answer.

mod auth;
mod events;
mod health;
mod limits;
mod memory;
mod orders;
mod products;
mod streams;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, middleware};
use mainstay::BoxError;
use mainstay::shutdown::Shutdown;

use self::auth::Keys;
use self::health::Services;
use self::products::Products;
use self::streams::Streams;
use self::upstream::Upstream;
use crate::config::{Config, Upstreams};
use crate::process::{Process, listen};
use crate::stacks;
use crate::web::{self, Problem};

/// The time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest body, in bytes.
const LONGEST: usize = 64 * 1024;

/// What the routes need. Clones share it.
#[derive(Clone)]
struct Gateway(Arc<Parts>);

struct Parts {
    keys: Keys,
    products: Products,
    orders: Upstream,
    notifications: Upstream,
    streams: Streams,
    services: Services,
    shutdown: Shutdown,
}

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or that of an upstream is none.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let shutdown = process.shutdown();
    let routes = routes(&config.upstreams, config.tenant_rate, shutdown)?;
    let listener = listen(config.listen).await?;
    process.ready();
    web::serve(listener, routes.merge(process.operators()), shutdown).await
}

/// The routes of the gateway, behind its stack. The tenant `pro` may send `tenant_rate` requests a
/// second, and `free` half of it.
///
/// # Errors
///
/// The address of an upstream is none, or the rate is 0.
pub fn routes(
    upstreams: &Upstreams,
    tenant_rate: u32,
    shutdown: &Shutdown,
) -> Result<Router, BoxError> {
    let gateway = Gateway(Arc::new(Parts {
        keys: Keys::new(&upstreams.users)?,
        products: Products::new(&upstreams.catalog)?,
        orders: Upstream::new("orders", &upstreams.orders)?,
        notifications: Upstream::new("notifications", &upstreams.notifications)?,
        streams: Streams::default(),
        services: Services::new(&upstreams.admins)?,
        shutdown: shutdown.clone(),
    }));
    let api = Router::new()
        .route("/products", get(products::list))
        .route("/products/{id}", get(products::show))
        .route("/orders", get(orders::list).post(orders::place))
        .route("/orders/{id}", get(orders::show))
        .route("/notifications", get(events::stream))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "the shop has no such route"))
        .layer(DefaultBodyLimit::max(LONGEST));
    let authenticate = middleware::from_fn_with_state(gateway.clone(), auth::authenticate);
    let stack = mainstay::http::server("gateway").timeout(TIMEOUT).build()?;
    let api = match stacks::unless_removed(stack) {
        Some(stack) => limits::limit(api, tenant_rate)?
            .layer(authenticate)
            .layer(stack),
        None => api.layer(authenticate),
    };
    // For operators, so it is outside of the stack.
    let health = get(health::show);
    Ok(api.route("/health", health).with_state(gateway))
}

//! Orders: places them, and brings each to its end by a saga over the stock and the payments.

pub mod http;
pub mod order;
pub mod outbox;
pub mod prices;
pub mod sagas;
pub mod store;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use mainstay::shutdown::Shutdown;
use mainstay::{BoxError, ConfigError};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use self::http::Shop;
use self::prices::Prices;
use self::sagas::Sagas;
use self::store::Orders;
use crate::broker::Broker;
use crate::broker::requests::Requests;
use crate::config::Config;
use crate::process::{Check, Process, listen};
use crate::stacks::{self, Messages};
use crate::tcp::{Client, Limits};

/// The time limit of one attempt of a step.
const ATTEMPT: Duration = Duration::from_millis(600);
/// The time limit of a request of this service. Most callers have less time.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or the database cannot be used.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let orders = Orders::open(&config.data, config.database.as_deref()).await?;
    if let Orders::Sqlite(store) = &orders {
        process.break_store(store);
    }
    let broker = Broker::new(&config.broker)?;
    let listener = listen(config.listen).await?;
    let services = Services {
        prices: Prices::of_service(&config.upstreams.catalog)?,
        stock: stock(&config.upstreams.stock, &broker)?,
        payments: payments(&config.upstreams.payments)?,
    };
    let of_check = broker.clone();
    process.ready_if(vec![Check::reported("broker", move || {
        let broker = of_check.clone();
        async move { broker.ping().await }
    })]);
    serve(listener, orders, broker, services, process.shutdown()).await
}

/// The services that orders need.
#[derive(Debug, Clone)]
pub struct Services {
    /// From the catalogue.
    pub prices: Prices,
    /// See [`stock`].
    pub stock: Messages,
    /// See [`payments`].
    pub payments: Messages,
}

/// Goes on with the orders that are stored, and serves new ones, until the shutdown.
///
/// # Errors
///
/// The database failed at the start, or the server had to be cut off.
pub async fn serve(
    listener: TcpListener,
    orders: Orders,
    broker: Broker,
    services: Services,
    shutdown: &Shutdown,
) -> Result<(), BoxError> {
    let outbox = Arc::new(Notify::new());
    let steps = (services.stock, services.payments);
    let sagas = Sagas::new(orders.clone(), steps, Arc::clone(&outbox), shutdown);
    let of_sweep = sagas.clone();
    let shop = Shop {
        orders: orders.clone(),
        prices: services.prices,
        sagas: sagas.clone(),
    };
    let stack = mainstay::http::server("orders").timeout(TIMEOUT).build()?;
    let routes = http::routes(shop);
    let routes = match stacks::unless_removed(stack) {
        Some(stack) => routes.layer(stack),
        None => routes,
    };
    let routes = routes.layer(shutdown.close_connections());
    let server = axum::serve(listener, routes).with_graceful_shutdown(shutdown.closing());
    let served = async {
        let served = server.into_future().await;
        sagas.stopped().await;
        served
    };
    // The relay publishes for as long as the others work.
    tokio::select! {
        served = shutdown.run(served) => Ok(served??),
        never = outbox::relay(orders, broker, outbox) => match never {},
        failed = of_sweep.sweep() => match failed? {},
    }
}

/// A client of `stock` at HOST:PORT, or by the broker for `broker`.
///
/// # Errors
///
/// None with these times.
pub fn stock(address: &str, broker: &Broker) -> Result<Messages, ConfigError> {
    if address == "broker" {
        let requests = Requests::new(broker.clone(), "orders", "stock");
        return stacks::client("stock", sagas::STEP, ATTEMPT, requests);
    }
    let client = Client::new(address, Limits::default());
    stacks::client("stock", sagas::STEP, ATTEMPT, client)
}

/// A client of `payments` at HOST:PORT.
///
/// # Errors
///
/// None with these times.
pub fn payments(address: &str) -> Result<Messages, ConfigError> {
    let client = Client::new(address, Limits::default());
    stacks::client("payments", sagas::STEP, ATTEMPT, client)
}

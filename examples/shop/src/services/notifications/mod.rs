//! Tells users what happens to their orders: consumes the events about orders, keeps each once, and
//! shows them to browsers as they come.

mod consumer;
mod store;
mod stream;

use mainstay::BoxError;
use mainstay::shutdown::Shutdown;
use tokio::net::TcpListener;

pub use self::store::{Notification, Notifications};
use crate::broker::{Broker, Redelivery};
use crate::config::Config;
use crate::process::{Check, Process, listen};
use crate::{stacks, web};

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or the database cannot be opened, or the broker cannot be used.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let notifications = Notifications::open(&config.data)?;
    process.break_store(notifications.store());
    let broker = Broker::new(&config.broker)?;
    let listener = listen(config.listen).await?;
    let of_check = broker.clone();
    process.ready_if(vec![Check::essential("broker", move || {
        let broker = of_check.clone();
        async move { broker.ping().await }
    })]);
    let broker = (broker, consumer::REDELIVERY);
    serve(listener, notifications, broker, process.shutdown()).await
}

/// Consumes events and serves calls until the shutdown.
///
/// # Errors
///
/// The server failed, or had to be cut off.
pub async fn serve(
    listener: TcpListener,
    notifications: Notifications,
    (broker, redelivery): (Broker, Redelivery),
    shutdown: &Shutdown,
) -> Result<(), BoxError> {
    let stack = mainstay::http::server("notifications").build()?;
    let routes = stream::routes(notifications.clone(), shutdown).layer(stack);
    let events = stacks::server("events", notifications)?;
    let consumer = consumer::run(broker, redelivery, events, shutdown);
    let (served, ()) = tokio::join!(web::serve(listener, routes, shutdown), consumer);
    served
}

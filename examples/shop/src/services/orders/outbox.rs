//! Publishes the events of the outbox.
//!
//! An event is removed after the broker has stored it. A crash between the two publishes it again, so
//! consumers remember the IDs of events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::gauge;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::store::{Orders, Unsent};
use crate::broker::Broker;
use crate::message::Failure;

/// The stream of the events about orders.
pub const STREAM: &str = "orders";

/// The most events that are removed at once.
const BATCH: u32 = 100;
/// Events are looked for at least this often, also without news.
const IDLE: Duration = Duration::from_millis(500);
/// The wait after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// Publishes events for as long as it is polled.
pub async fn relay(orders: Orders, broker: Broker, news: Arc<Notify>) -> Infallible {
    let mut fails = false;
    loop {
        match publish(&orders, &broker).await {
            Ok(0) => {
                fails = false;
                let _ = timeout(IDLE, news.notified()).await;
            }
            Ok(_) => fails = false,
            Err(failure) => {
                // Once for each outage.
                if !fails {
                    tracing::warn!(%failure, "events wait in the outbox");
                }
                fails = true;
                sleep(PAUSE).await;
            }
        }
    }
}

/// Publishes the oldest events, those of each order in their order. Returns how many.
async fn publish(orders: &Orders, broker: &Broker) -> Result<usize, Failure> {
    let unsent = orders.unsent(BATCH).await?;
    let waiting = u32::try_from(unsent.len()).unwrap_or(BATCH);
    gauge!("shop_outbox_waiting").set(f64::from(waiting));
    let mut of_orders: BTreeMap<String, Vec<Unsent>> = BTreeMap::new();
    for one in unsent {
        let order = one.event.payload["order"].to_string();
        of_orders.entry(order).or_default().push(one);
    }
    let publishing = of_orders
        .into_values()
        .map(|events| in_order(broker, events));
    // At once, so that the broker brings many to its disk with one write.
    let (mut sent, mut failed) = (Vec::new(), None);
    for (published, failure) in join_all(publishing).await {
        sent.extend(published);
        failed = failed.or(failure);
    }
    let count = sent.len();
    if count > 0 {
        orders.sent(sent).await?;
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(count),
    }
}

/// Publishes events until one fails. Returns those that the broker has.
async fn in_order(broker: &Broker, events: Vec<Unsent>) -> (Vec<i64>, Option<Failure>) {
    let mut sent = Vec::with_capacity(events.len());
    for one in events {
        match broker.publish(STREAM, &one.event).await {
            Ok(_) => sent.push(one.seq),
            Err(failure) => return (sent, Some(failure)),
        }
    }
    (sent, None)
}

//! Takes the events about orders from the broker.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use mainstay::shutdown::Shutdown;
use tokio::time::sleep;
use tower::ServiceExt;

use crate::broker::{Broker, Consumer, Delivery, Redelivery};
use crate::message::{Code, Failure};
use crate::stacks::Messages;

const STREAM: &str = "orders";
/// Its group, and its name in the group.
const NAME: &str = "notifications";

/// When an event is delivered again, and when it is given up.
pub(super) const REDELIVERY: Redelivery = Redelivery {
    patience: Duration::from_secs(10),
    delay: Duration::from_secs(1),
    most_tries: 5,
};

/// The most events at once.
const BATCH: u32 = 32;
/// How long the broker waits for an event, if there is none.
const WAIT: Duration = Duration::from_secs(1);
/// How often an acknowledgement is repeated.
const ACKS: u32 = 10;
/// The pause after a failure that passes by itself.
const PAUSE: Duration = Duration::from_millis(500);

/// Handles events until the shutdown. Those that it has begun, it ends.
pub(super) async fn run(
    broker: Broker,
    redelivery: Redelivery,
    handlers: Messages,
    shutdown: &Shutdown,
) {
    let mut closing = pin!(shutdown.closing());
    let mut is_down = false;
    let mut consumer = None;
    loop {
        let taken = take(&broker, redelivery, &mut consumer);
        let taken = tokio::select! {
            () = &mut closing => return,
            taken = taken => taken,
        };
        let handled = match (taken, &consumer) {
            (Ok(taken), Some(consumer)) => {
                handle_all(&taken, consumer, &handlers, &mut closing).await
            }
            (Ok(_), None) => Ok(true),
            (Err(failure), _) => {
                // The group may be gone with the data of the broker.
                consumer = None;
                Err(failure)
            }
        };
        match handled {
            Ok(true) => is_down = false,
            Ok(false) => return,
            Err(failure) => {
                // Once for each outage.
                if !is_down {
                    tracing::warn!(%failure, "events cannot be taken from the broker");
                }
                is_down = true;
                tokio::select! {
                    () = &mut closing => return,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Joins the group if need be, and waits for events.
async fn take(
    broker: &Broker,
    redelivery: Redelivery,
    consumer: &mut Option<Consumer>,
) -> Result<Vec<Delivery>, Failure> {
    let consumer = match consumer {
        Some(consumer) => consumer,
        none => none.insert(broker.consumer(STREAM, NAME, NAME, redelivery).await?),
    };
    consumer.take(BATCH, WAIT).await
}

/// Handles events in their order. Returns whether it did before the shutdown. The others are
/// delivered again.
async fn handle_all(
    taken: &[Delivery],
    consumer: &Consumer,
    handlers: &Messages,
    mut closing: impl Future<Output = ()> + Unpin,
) -> Result<bool, Failure> {
    for delivery in taken {
        loop {
            let Err(failure) = handlers.clone().oneshot(delivery.message.clone()).await else {
                if !ack(delivery, consumer, &mut closing).await? {
                    return Ok(false);
                }
                break;
            };
            // A full disk, say. It is no fault of the event, so the event waits.
            if must_wait(failure.code) {
                tracing::warn!(event = delivery.message.id, %failure, "an event waits");
                tokio::select! {
                    () = &mut closing => return Ok(false),
                    () = sleep(PAUSE) => continue,
                }
            }
            fail(delivery, consumer, &failure).await?;
            break;
        }
    }
    Ok(true)
}

/// Tries for a while: an event that is not acknowledged comes again, after later ones of its order.
/// Returns whether it did before the shutdown.
async fn ack(
    delivery: &Delivery,
    consumer: &Consumer,
    mut closing: impl Future<Output = ()> + Unpin,
) -> Result<bool, Failure> {
    let mut tries = 0;
    loop {
        match consumer.ack(delivery).await {
            Ok(_) => return Ok(true),
            Err(failure) if tries >= ACKS || !failure.code.is_transient() => return Err(failure),
            Err(_) => tries += 1,
        }
        tokio::select! {
            () = &mut closing => return Ok(false),
            () = sleep(PAUSE) => {}
        }
    }
}

const fn must_wait(code: Code) -> bool {
    matches!(
        code,
        Code::Overloaded | Code::NotSent | Code::Lost | Code::DeadlineExceeded
    )
}

async fn fail(delivery: &Delivery, consumer: &Consumer, failure: &Failure) -> Result<(), Failure> {
    let (event, pattern) = (&delivery.message.id, &delivery.message.pattern);
    if consumer.fail(delivery, &failure.message).await? {
        metrics::counter!("shop_dead_letters_total", "group" => NAME).increment(1);
        tracing::error!(event, pattern, tries = delivery.tries, %failure, "an event is a dead letter");
    } else {
        tracing::warn!(event, pattern, tries = delivery.tries, %failure, "an event failed");
    }
    Ok(())
}

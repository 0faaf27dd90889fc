//! All six layers in one stack, everything by default: here, and in the programs of `child`.

use std::time::Duration;

use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Limit, LoadShedLayer, RetryLayer,
    TimeoutLayer,
};
use tower::{Service, ServiceBuilder};

use crate::services::{Expect, Message, Ready, Work, Yields, calls};

/// A time limit that no call reaches.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const MAX_IN_FLIGHT: u32 = 1_000;

macro_rules! six_layers {
    ($correlation:ident, $inner:expr) => {
        ServiceBuilder::new()
            .layer(CorrelationLayer::$correlation())
            .layer(TimeoutLayer::new(LIMIT))
            .layer(RetryLayer::new())
            .layer(CircuitBreakerLayer::new())
            .layer(BulkheadLayer::new(MAX_IN_FLIGHT))
            .layer(LoadShedLayer::new(Limit::adaptive()))
            .service($inner)
    };
}

pub(crate) fn service() -> impl Service<Message, Future: Send> + Clone + Send + 'static {
    six_layers!(consumer, Ready)
}

/// Calls of a service that is ready at once.
pub(crate) fn ready() -> Work {
    calls(service(), Message::WITH_ID, Expect::Answers)
}

/// Calls of one whose answer has to be waited for.
pub(crate) fn yields() -> Work {
    let service = six_layers!(consumer, Yields);
    calls(service, Message::WITH_ID, Expect::Answers)
}

/// On the client's side: to be run within a context that has an ID.
pub(crate) fn client() -> Work {
    let service = six_layers!(client, Ready);
    calls(service, Message::WITHOUT_ID, Expect::Answers)
}

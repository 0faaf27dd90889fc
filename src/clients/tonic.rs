//! A wrapped tonic service keeps the name by which tonic routes.

use tonic::server::NamedService;

use crate::layers::bulkhead::Bulkhead;
use crate::layers::circuit_breaker::CircuitBreaker;
use crate::layers::correlation::Correlation;
use crate::layers::deadline::Deadline;
use crate::layers::keyed::Keying;
use crate::layers::load_shed::LoadShed;
use crate::layers::retry::Retry;
use crate::layers::timeout::Timeout;
use crate::protocol::respond::{Mapping, Respond};
use crate::stack::{LimitedService, ServerService};

macro_rules! named {
    ($($name:ident<S $(, $param:ident $(: $of:ident)?)*>,)*) => {$(
        /// The name of the inner service.
        impl<S: NamedService $(, $param $(: $of)?)*> NamedService for $name<S $(, $param)*> {
            const NAME: &'static str = S::NAME;
        }
    )*};
}

named! {
    Bulkhead<S, M, T>,
    CircuitBreaker<S, T>,
    Correlation<S, D>,
    Deadline<S, W>,
    LimitedService<S>,
    LoadShed<S, L>,
    Respond<S, M: Mapping, B>,
    Retry<S, P, R, K: Keying>,
    ServerService<S>,
    Timeout<S, P, C>,
}

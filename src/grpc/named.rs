//! One wrapped service of tonic's keeps the name that tonic routes by.

use tonic::server::NamedService;

use crate::bulkhead::Bulkhead;
use crate::circuit_breaker::CircuitBreaker;
use crate::correlation::Correlation;
use crate::http::Deadline;
use crate::load_shed::LoadShed;
use crate::respond::{Mapping, Respond};
use crate::retry::Retry;
use crate::stack::{LimitedService, ServerService};
use crate::timeout::Timeout;

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
    Deadline<S>,
    LimitedService<S>,
    LoadShed<S, L>,
    Respond<S, M: Mapping, B>,
    Retry<S, P, R>,
    ServerService<S>,
    Timeout<S, P, C>,
}

//~ write: `impl mainstay::WholeReply for Frame {}`
//~ use `CorrelationLayer::consumer()`

use mainstay::{Carry, CorrelationLayer};
use std::convert::Infallible;
use tower::{Service, ServiceBuilder, service_fn};

struct Frame;

impl Carry for Frame {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn set(&mut self, _: &str, _: &str) {}
}

fn frames() -> impl Service<Frame> {
    ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .service(service_fn(async |_: Frame| Ok::<_, Infallible>(Frame)))
}

fn main() {
    frames();
}

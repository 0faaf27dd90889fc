//~ into a type of your own with `.map_err(..)`

use mainstay::BulkheadLayer;
use tower::{Service, ServiceBuilder, service_fn};

fn pages() -> impl Service<String, Response = u32> {
    ServiceBuilder::new()
        .layer(BulkheadLayer::new(8))
        .service(service_fn(async |page: String| page.parse::<u32>()))
}

fn main() {
    pages();
}

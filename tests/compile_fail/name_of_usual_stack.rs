//~ expected `ClientStack<Http>`, found `ClientStack<Http<Arc<
//~ expected `ServerStack`, found `ServerStack<Identity, GrpcClassifier>`

use mainstay::{Outcome, http as resilient};

fn main() {
    let breaker = resilient::circuit_breaker().classify_head(|_| Outcome::Success);
    let stack = resilient::client("payments").circuit_breaker(breaker);
    let _: resilient::ClientStack = stack.build().unwrap();
    let stack = resilient::server("orders").load_shed(mainstay::grpc::load_shed());
    let _: resilient::ServerStack = stack.build().unwrap();
}

//~ return a `mainstay::Outcome`
//~ is not the outcome of a call

fn main() {
    let _ = mainstay::http::circuit_breaker().classify_head(|head| head.status() == 500);
}

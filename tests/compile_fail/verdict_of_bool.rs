//~ return a `mainstay::Outcome`
//~ does not say how a call went

fn main() {
    let _ = mainstay::http::circuit_breaker().classify_head(|head| head.status() == 500);
}

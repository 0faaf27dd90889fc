//~ `u64` does not refine this layer of a standard stack
//~ `{integer}` does not refine this layer of a standard stack
//~ (a `Duration`, a `Limit`, a count as `u32`)

fn main() {
    let _ = mainstay::http::client("payments")
        .retry(3_u64)
        .timeout(5);
}

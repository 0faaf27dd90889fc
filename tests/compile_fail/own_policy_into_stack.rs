//~ a stack of HTTP or gRPC accepts neither a custom retry policy nor a bulkhead with a classifier: for these, combine the layers yourself

use mainstay::{Decision, RetryLayer};

fn main() {
    let policy = RetryLayer::builder().decide_cloning(
        |_: &http::Request<()>| None,
        |_: &http::Request<()>, _: Result<&(), &mainstay::Error<std::io::Error>>, _| Decision::Return,
    );
    let _ = mainstay::http::client("payments").retry(policy);
}

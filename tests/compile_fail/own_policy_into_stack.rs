//~ a stack of HTTP or gRPC has no type parameter for a retry policy of your own, nor does its bulkhead classify: for these, put the layers together by hand

use mainstay::{Decision, RetryLayer};

fn main() {
    let policy = RetryLayer::builder().decide_cloning(
        |_: &http::Request<()>| None,
        |_: &http::Request<()>, _: Result<&(), &mainstay::Error<std::io::Error>>, _| Decision::Return,
    );
    let _ = mainstay::http::client("payments").retry(policy);
}

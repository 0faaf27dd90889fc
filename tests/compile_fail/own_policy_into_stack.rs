//~ a stack has no type parameter for a retry policy of your own, nor one for how a bulkhead judges: for these, put the layers together by hand

use mainstay::{Decision, RetryLayer};

fn main() {
    let policy = RetryLayer::builder().decide_cloning(
        |_: &http::Request<()>| None,
        |_: &http::Request<()>, _: Result<&(), &mainstay::Error<std::io::Error>>, _| Decision::Return,
    );
    let _ = mainstay::http::client("payments").retry(policy);
}

//~ a builder of `mainstay::grpc::retry()` is for `mainstay::grpc::client`, one of `mainstay::http::retry()` for the other clients

fn main() {
    let _ = mainstay::http::client("payments").retry(mainstay::grpc::retry());
}

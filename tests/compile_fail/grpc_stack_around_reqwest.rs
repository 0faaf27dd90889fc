//~ use `mainstay::reqwest::client` for `reqwest::Client`

fn main() {
    let stack = mainstay::grpc::client("users").build().unwrap();
    let _ = stack.wrap(reqwest::Client::new());
}

//~ for `reqwest::Client` there is `mainstay::reqwest::client`

fn main() {
    let stack = mainstay::grpc::client("users").build().unwrap();
    let _ = stack.wrap(reqwest::Client::new());
}

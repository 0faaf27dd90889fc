//~ is not implemented for `ClientStack<Http>`

use mainstay::reqwest::SendThrough;

fn main() {
    let http = reqwest::Client::new();
    let payments = mainstay::reqwest::client("payments").build().unwrap();
    let _ = http.get("http://localhost/").send_through(&payments);
}

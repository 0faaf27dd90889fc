//! reqwest sends again what was refused, unless it is told not to.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::reqwest::SendThrough as _;
use tracing::Level;

use super::server::{Refuses, serve};
use crate::common::keep_second_subscriber;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the documentation says, and the line in the log. In one test, because `tracing` decides once for the process who wants a line.
#[tokio::test]
async fn three_attempts_are_three_requests_without_reqwests_own_retries() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    keep_second_subscriber();
    let _logged = tracing::subscriber::set_default(subscriber);
    let stack = mainstay::reqwest::client("shop").retry(3).build().unwrap();
    let (address, seen) = serve(Refuses::All, Duration::ZERO).await;
    let url = format!("http://{address}/");

    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let shop = stack.wrap(client.clone());
    client.get(&url).send_through(&shop).await.unwrap_err();
    assert_eq!(seen.refused(), 3);
    // It follows redirects, so a refusal may be that of a second request.
    client.post(&url).send_through(&shop).await.unwrap_err();
    assert_eq!(seen.refused(), 4);

    let client = reqwest::Client::builder().http2_prior_knowledge();
    let client = client.build().unwrap();
    let shop = stack.wrap(client.clone());
    client.get(&url).send_through(&shop).await.unwrap_err();
    assert_eq!(seen.refused(), 4 + 9, "with nothing set");

    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told = |line: &&str| line.contains("mainstay::retry") && line.contains("retry::never()");
    assert_eq!(lines.lines().filter(told).count(), 7);
}

//! The users: requests at a steady rate, whether or not earlier ones have finished.

use std::time::Duration;

use mainstay::shutdown::Closing;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

const PRODUCTS: [&str; 4] = ["lamp", "table", "chair", "shelf"];
/// How long a user waits. Users send it as their deadline.
const PATIENCE: Duration = Duration::from_millis(1800);
/// The most requests at the same time.
const MOST: usize = 1000;

/// Calls the gateway `rate` times a second until `stop`, then waits for the requests in flight. So a
/// load balancer would, which sends nothing to a gateway that is not ready.
pub(crate) async fn run(url: String, rate: u32, mut stop: Closing) -> reqwest::Result<()> {
    if rate == 0 {
        return Ok(());
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(2 * PATIENCE)
        .build()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut products = PRODUCTS.into_iter().cycle();
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = calls.join_next() => {}
            _ = ticks.tick(), if calls.len() < MOST => {
                let request = client
                    .get(format!("{url}/products/{}", products.next().unwrap_or_default()))
                    .header("x-request-timeout-ms", PATIENCE.as_millis().to_string());
                calls.spawn(async move { request.send().await?.bytes().await });
            }
        }
    }
    while calls.join_next().await.is_some() {}
    Ok(())
}

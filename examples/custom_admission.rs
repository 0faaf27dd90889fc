//! A layer of your own that admits or rejects calls: a daily quota of reports.
//!
//! ```sh
//! cargo run --example custom_admission
//! ```

use std::sync::Mutex;
use std::time::Duration;

use axum::{Router, routing::get};
use mainstay::admission::{Admission, AdmissionLayer, Refusal, Ticket};
use mainstay::{BoxError, Event, Reason, http};
use tokio::{net::TcpListener, time::Instant};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The policy: the calls that are left today, and when the day began.
struct DailyQuota {
    calls: u32,
    today: Mutex<(Instant, u32)>,
}

impl DailyQuota {
    fn new(calls: u32) -> Self {
        let today = Mutex::new((Instant::now(), calls));
        Self { calls, today }
    }
}

impl Admission for DailyQuota {
    fn admit(&self) -> Result<Ticket, Refusal> {
        let mut today = self.today.lock().unwrap();
        if today.0.elapsed() >= DAY {
            *today = (Instant::now(), self.calls);
        }
        let Some(left) = today.1.checked_sub(1) else {
            let tomorrow = DAY.saturating_sub(today.0.elapsed());
            return Err(Refusal::new(Reason::RateLimited).retry_after(tomorrow));
        };
        today.1 = left;
        Ok(Ticket::new())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let quota = AdmissionLayer::builder("daily_quota", DailyQuota::new(3))
        .name("reports")
        .observer(|event: &Event| println!("event: {event}"))
        .build()?;
    // The standard stack turns the rejection into a response.
    let server = http::server("reports").build()?;
    let app = Router::new()
        .route("/report", get(|| async { "all is well" }))
        .layer(
            tower::ServiceBuilder::new()
                .layer(server)
                .layer(quota.clone()),
        );

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/report", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });

    for _ in 0..4 {
        let answer = reqwest::get(&url).await?;
        let retry_after = answer.headers().get("retry-after").cloned();
        println!("{} {retry_after:?}", answer.status());
    }
    println!("{}", quota.handle().snapshot());
    Ok(())
}

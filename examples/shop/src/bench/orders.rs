//! Orders through gateway, orders, payments and stock: two shops side by side, one with the stacks and
//! one without.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mainstay::BoxError;
use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::lap::Seen;
use super::{CALLERS, Row};
use crate::config::Name;
use crate::demo;
use crate::launcher::{Addresses, Broker, Settings, System};

/// Long enough for an order to come to its end.
const LAP: Duration = Duration::from_secs(1);

/// How often both shops are started anew: the same shop is up to a tenth faster in one start than in
/// the next.
const SHOPS: u64 = 3;

/// The wait before an order that was refused is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// An order that takes longer ends the benchmark.
const LONGEST: Duration = Duration::from_secs(30);

/// Measures orders with the stock by one transport for about this time.
pub(super) async fn run(
    case: &str,
    broker: Broker,
    stock_by_broker: bool,
    folder: &Path,
    time: Duration,
) -> Result<Row, BoxError> {
    let start = async |shop: u64, has_stacks: bool| -> Result<System, BoxError> {
        let (notices, _) = mpsc::unbounded_channel();
        let settings = Settings {
            data: folder.join(format!("{shop}-{has_stacks}")),
            addresses: Addresses::from_base(0)?,
            broker: broker.clone(),
            postgres: None,
            stock_by_broker,
            without_stacks: !has_stacks,
        };
        System::start(settings, notices).await
    };
    let laps = time.as_secs().div_ceil(2 * LAP.as_secs() * SHOPS);
    let (mut seen_without, mut seen_with) = (Seen::new()?, Seen::new()?);
    for shop in 0..SHOPS {
        let (without, with) = (start(shop, false).await?, start(shop, true).await?);
        let (bare, behind) = (callers(&without)?, callers(&with)?);
        // The first warms up, and does not count.
        Seen::new()?.lap(&bare, LAP).await?;
        Seen::new()?.lap(&behind, LAP).await?;
        for _ in 0..laps {
            seen_without.lap(&bare, LAP).await?;
            seen_with.lap(&behind, LAP).await?;
        }
        without.stop().await;
        with.stop().await;
    }
    Ok(Row {
        case: case.to_owned(),
        without: (&seen_without).into(),
        with: (&seen_with).into(),
        ratio: seen_with.over(&seen_without),
    })
}

type Call = Arc<dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

fn callers(
    system: &System,
) -> Result<Vec<impl Fn() -> BoxFuture<'static, Result<(), BoxError>> + Clone + use<>>, BoxError> {
    let gateway = system.settings().addresses.calls(Name::Gateway);
    let url: Arc<str> = format!("http://{gateway}/orders").into();
    let http = reqwest::Client::builder().no_proxy().build()?;
    let number = Arc::new(AtomicU64::new(0));
    let call: Call = Arc::new(move || {
        let (http, url) = (http.clone(), Arc::clone(&url));
        let number = number.fetch_add(1, Ordering::Relaxed);
        let user = usize::try_from(number).unwrap_or(0) % (demo::USERS - demo::POOR);
        Box::pin(async move {
            let ended = place(&http, &url, user, number);
            let ended = timeout(LONGEST, ended).await;
            ended.map_err(|_| format!("an order has not ended for {LONGEST:?}"))?
        })
    });
    Ok(vec![move || call(); CALLERS])
}

/// Places an order, and waits for its end. What was refused is asked for again.
async fn place(
    http: &reqwest::Client,
    url: &str,
    user: usize,
    number: u64,
) -> Result<(), BoxError> {
    loop {
        let answer = http
            .post(url)
            .header("x-api-key", format!("key-u{user:03}"))
            .header("idempotency-key", format!("bench-{number}"))
            .json(&json!({ "items": [{ "product": "filter-papers", "quantity": 1 }] }))
            .send()
            .await?;
        let status = answer.status();
        match status {
            StatusCode::CREATED => return Ok(()),
            // It goes on. The next call waits for its end.
            StatusCode::ACCEPTED => {}
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => sleep(PAUSE).await,
            _ => {
                let text = answer.text().await?;
                return Err(format!("an order was answered with {status}: {text}").into());
            }
        }
    }
}

//! The cases of a reqwest client behind the layers against a proxy in front of an upstream that misbehaves. What was sent is read in the
//! proxy's own log.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mainstay::reqwest::SendThrough;
use mainstay::{BoxError, Context, Error, Reason, State};
use serde::Deserialize;

use crate::cases::{Outcome, between, case, holds, same, until};
use crate::stacks::{Calling, http_client};

const GROUP: &str = "reqwest -> nginx";

/// One line of the proxy's log.
#[derive(Debug, Deserialize)]
struct Call {
    path: String,
    method: String,
    status: u16,
    /// When it was over, in seconds.
    at: f64,
    id: String,
    /// What the client said it had left, in milliseconds.
    left: String,
}

/// Against what the cases are run.
struct Proxy {
    url: String,
    access_log: PathBuf,
    client: reqwest::Client,
}

impl Proxy {
    /// A path that no other case has: the first `failures` calls of it go wrong.
    fn path(&self, what: &str, failures: u32) -> String {
        static CASE: AtomicU32 = AtomicU32::new(0);
        let number = CASE.fetch_add(1, Ordering::Relaxed);
        format!("/{what}/{failures}/{number}")
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// What the proxy wrote down of a path, once it is so many calls.
    async fn calls(&self, path: &str, count: usize) -> Result<Vec<Call>, BoxError> {
        let read = || read_log(&self.access_log, path);
        until("the proxy has written down its calls", async || {
            Ok(read()?.len() >= count)
        })
        .await?;
        // One too many would come now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        read()
    }

    /// The statuses that the proxy gave for a path.
    async fn statuses(&self, path: &str, expected: &[u16]) -> Outcome {
        let calls = self.calls(path, expected.len()).await?;
        let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
        same("what the proxy answered", statuses, expected)
    }
}

fn read_log(log: &Path, path: &str) -> Result<Vec<Call>, BoxError> {
    let text = std::fs::read_to_string(log)?;
    // The last line may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut calls = Vec::new();
    for line in whole.lines() {
        let call: Call = serde_json::from_str(line)?;
        if call.path == path {
            calls.push(call);
        }
    }
    Ok(calls)
}

/// The reason of a rejection.
fn reason<T>(result: Result<T, Error<reqwest::Error>>) -> Result<Reason, BoxError> {
    match result {
        Ok(_) => Err("the call succeeded".into()),
        Err(Error::Rejected(rejection)) => Ok(rejection.reason()),
        Err(Error::Inner(error)) => Err(error.into()),
    }
}

pub(crate) async fn run(address: &str, access_log: PathBuf) -> Result<(), BoxError> {
    let proxy = &Proxy {
        url: format!("http://{address}"),
        access_log,
        client: reqwest::Client::builder().no_proxy().build()?,
    };
    case(
        GROUP,
        "a 502 is retried until it is well",
        bad_gateway(proxy),
    )
    .await;
    case(
        GROUP,
        "a 502 that lasts is given back after the last attempt",
        down(proxy),
    )
    .await;
    case(
        GROUP,
        "a 504 of the proxy is retried",
        gateway_timeout(proxy),
    )
    .await;
    case(
        GROUP,
        "an attempt that takes too long is ended and retried",
        attempt_timeout(proxy),
    )
    .await;
    case(
        GROUP,
        "the time of all attempts together ends a call",
        total_timeout(proxy),
    )
    .await;
    case(
        GROUP,
        "Retry-After on a 503 is met",
        retry_after(proxy, "busy", 503),
    )
    .await;
    case(
        GROUP,
        "Retry-After on a 429 is met",
        retry_after(proxy, "many", 429),
    )
    .await;
    case(
        GROUP,
        "a Retry-After that is too long gives the answer back at once",
        retry_after_too_long(proxy),
    )
    .await;
    case(
        GROUP,
        "a POST without a key is sent once",
        post_without_key(proxy),
    )
    .await;
    case(
        GROUP,
        "a POST with an Idempotency-Key is retried with its body",
        post_with_key(proxy),
    )
    .await;
    case(
        GROUP,
        "a body that is cut counts against the circuit",
        cut_body(proxy),
    )
    .await;
    case(
        GROUP,
        "answers that are read to their end count once each, and for the circuit",
        whole_body(proxy),
    )
    .await;
    case(
        GROUP,
        "an open circuit sends nothing more to the proxy",
        open_circuit(proxy),
    )
    .await;
    case(
        GROUP,
        "Retry-After keeps an open circuit open for as long",
        open_for_retry_after(proxy),
    )
    .await;
    case(
        GROUP,
        "all attempts have the caller's correlation ID",
        correlation(proxy),
    )
    .await;
    case(
        GROUP,
        "each attempt says what the caller has left",
        deadline(proxy),
    )
    .await;
    Ok(())
}

async fn bad_gateway(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("drop", 2);
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 200)?;
    same("body", response.text().await?, "call 3, 0 bytes")?;
    proxy.statuses(&path, &[502, 502, 200]).await
}

async fn down(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("down", 0);
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 502)?;
    proxy.statuses(&path, &[502; 3]).await
}

async fn gateway_timeout(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("slow", 1);
    let begun = Instant::now();
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 200)?;
    between("time", begun.elapsed(), 300, 1_000)?;
    proxy.statuses(&path, &[504, 200]).await
}

async fn attempt_timeout(proxy: &Proxy) -> Outcome {
    let calling = Calling {
        attempt: Duration::from_millis(200),
        ..Calling::default()
    };
    let (stack, _) = http_client(proxy.client.clone(), calling)?;
    let path = proxy.path("patient", 1);
    let begun = Instant::now();
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 200)?;
    between("time", begun.elapsed(), 200, 800)?;
    // What nginx calls a caller who has gone.
    proxy.statuses(&path, &[499, 200]).await
}

async fn total_timeout(proxy: &Proxy) -> Outcome {
    let calling = Calling {
        total: Duration::from_millis(300),
        attempt: Duration::from_millis(200),
        ..Calling::default()
    };
    let (stack, _) = http_client(proxy.client.clone(), calling)?;
    let path = proxy.path("patient", 9);
    let begun = Instant::now();
    let result = proxy.get(&path).send_through(&stack).await;
    same("reason", reason(result)?, Reason::TimedOut)?;
    between("time", begun.elapsed(), 200, 400)
}

async fn retry_after(proxy: &Proxy, what: &str, status: u16) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path(what, 0);
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 200)?;
    let begun = Instant::now();
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 200)?;
    between("time", begun.elapsed(), 1_000, 1_500)?;
    proxy.statuses(&path, &[200, status, 200]).await?;
    let calls = proxy.calls(&path, 3).await?;
    // The log has milliseconds, each rounded.
    holds("the proxy saw less than a second", {
        calls[2].at - calls[1].at >= 0.998
    })
}

async fn retry_after_too_long(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("closed", 0);
    let begun = Instant::now();
    let response = proxy.get(&path).send_through(&stack).await?;
    same("status", response.status().as_u16(), 503)?;
    between("time", begun.elapsed(), 0, 300)?;
    proxy.statuses(&path, &[503]).await
}

async fn post_without_key(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("drop", 1);
    let response = proxy.post(&path).body("order").send_through(&stack).await?;
    same("status", response.status().as_u16(), 502)?;
    proxy.statuses(&path, &[502]).await
}

async fn post_with_key(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("drop", 1);
    let request = proxy.post(&path).header("idempotency-key", "4711");
    let response = request.body("order").send_through(&stack).await?;
    same("status", response.status().as_u16(), 200)?;
    same("body", response.text().await?, "call 2, 5 bytes")?;
    proxy.statuses(&path, &[502, 200]).await?;
    let calls = proxy.calls(&path, 2).await?;
    holds("another method", {
        calls.iter().all(|call| call.method == "POST")
    })
}

/// The circuit opens after two failures in a row.
fn two_failures() -> Calling {
    Calling {
        attempts: 1,
        failures: 2,
        ..Calling::default()
    }
}

async fn cut_body(proxy: &Proxy) -> Outcome {
    let (stack, circuit) = http_client(proxy.client.clone(), two_failures())?;
    let path = proxy.path("cut", 9);
    for _ in 0..2 {
        same("circuit", circuit.state(), State::Closed)?;
        let response = proxy.get(&path).send_through(&stack).await?;
        same("status", response.status().as_u16(), 200)?;
        holds("the body was whole", response.bytes().await.is_err())?;
    }
    same("circuit", circuit.state(), State::Open)
}

async fn whole_body(proxy: &Proxy) -> Outcome {
    let (stack, circuit) = http_client(proxy.client.clone(), two_failures())?;
    for _ in 0..3 {
        let path = proxy.path("fine", 0);
        let response = proxy.get(&path).send_through(&stack).await?;
        same("body", response.text().await?, "call 1, 0 bytes")?;
    }
    let snapshot = circuit.snapshot();
    same("calls counted", snapshot.calls, 3)?;
    same("failures counted", snapshot.failures, 0)
}

async fn open_circuit(proxy: &Proxy) -> Outcome {
    let (stack, circuit) = http_client(proxy.client.clone(), two_failures())?;
    let path = proxy.path("down", 0);
    for _ in 0..2 {
        let response = proxy.get(&path).send_through(&stack).await?;
        same("status", response.status().as_u16(), 502)?;
    }
    same("circuit", circuit.state(), State::Open)?;
    for _ in 0..5 {
        let result = proxy.get(&path).send_through(&stack).await;
        same("reason", reason(result)?, Reason::CircuitOpen)?;
    }
    proxy.statuses(&path, &[502, 502]).await
}

async fn open_for_retry_after(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), two_failures())?;
    let path = proxy.path("closed", 0);
    for _ in 0..2 {
        proxy.get(&path).send_through(&stack).await?;
    }
    match proxy.get(&path).send_through(&stack).await {
        Err(Error::Rejected(rejection)) => {
            let after = rejection.retry_after().unwrap_or_default();
            // Ten seconds by its own settings; the proxy says an hour, of which it takes as much as it may.
            holds(&format!("retry after {after:?}"), {
                after > Duration::from_secs(20)
            })
        }
        other => Err(format!("{other:?}").into()),
    }
}

async fn correlation(proxy: &Proxy) -> Outcome {
    let (stack, _) = http_client(proxy.client.clone(), Calling::default())?;
    let path = proxy.path("drop", 1);
    let context = Context::current().with_correlation_id("order-4711".parse()?);
    context.scope(proxy.get(&path).send_through(&stack)).await?;
    let calls = proxy.calls(&path, 2).await?;
    let ids: Vec<_> = calls.iter().map(|call| &*call.id).collect();
    same("IDs", ids, ["order-4711"; 2])
}

async fn deadline(proxy: &Proxy) -> Outcome {
    let calling = Calling {
        total: Duration::from_secs(3),
        attempt: Duration::from_secs(4),
        ..Calling::default()
    };
    let (stack, _) = http_client(proxy.client.clone(), calling)?;
    let path = proxy.path("busy", 0);
    proxy.get(&path).send_through(&stack).await?;
    // The second call is a 503, a second, and a 200.
    proxy.get(&path).send_through(&stack).await?;
    let calls = proxy.calls(&path, 3).await?;
    let left: Result<Vec<u32>, _> = calls.iter().map(|call| call.left.parse()).collect();
    let left = left.map_err(|_| format!("no numbers: {calls:?}"))?;
    holds(&format!("left of 3000, and after a second: {left:?}"), {
        matches!(left[..], [2_500..=3_000, first @ 2_500..=3_000, second @ 1_000..=2_000] if first - second >= 999)
    })?;
    let path = proxy.path("fine", 0);
    let request = proxy.get(&path).header("x-request-timeout-ms", "700");
    request.send_through(&stack).await?;
    let calls = proxy.calls(&path, 1).await?;
    same("what the caller itself said", &*calls[0].left, "700")
}

//! Healthy traffic is never shed by a default stack, whatever its latencies. The clock is the system's: a paused one has no scheduler lag.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::Response;
use mainstay::http as resilient;
use mainstay::http::ServerStack;
use tower::service_fn;

use crate::upstream::{Req, call, get, ms, secs};

/// Takes as long as the request says.
async fn sleeps(request: Req) -> Result<Response<Body>, Infallible> {
    let time = request.headers()["takes"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    tokio::time::sleep(ms(time)).await;
    Ok(Response::new(Body::empty()))
}

fn takes(time: u64) -> Req {
    let mut request = get();
    request.headers_mut().insert("takes", time.into());
    request
}

/// So many callers, each with one call after the other; how many were not answered with 200.
async fn failures(stack: &ServerStack, callers: usize, lasts: Duration, time: u64) -> usize {
    let service = stack.wrap(service_fn(sleeps));
    let until = Instant::now() + lasts;
    let callers = (0..callers).map(|_| {
        let service = service.clone();
        tokio::spawn(async move {
            let mut failures = 0;
            loop {
                let response = call(&service, takes(time)).await.unwrap();
                failures += usize::from(response.status() != 200);
                if Instant::now() >= until {
                    return failures;
                }
                if response.status() != 200 {
                    tokio::time::sleep(ms(50)).await;
                }
            }
        })
    });
    let failures = futures::future::join_all(callers).await;
    failures.into_iter().map(|failures| failures.unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_its_latencies() {
    let limited = || {
        let stack = resilient::server("s").timeout(secs(2)).bulkhead(100);
        stack.build().unwrap()
    };
    // Ninety of a hundred, from a fresh start.
    let stack = limited();
    assert_eq!(failures(&stack, 90, ms(1_500), 1_000).await, 0);
    // After fast calls, slow ones.
    let stack = limited();
    assert_eq!(failures(&stack, 90, ms(1_500), 20).await, 0);
    assert_eq!(failures(&stack, 90, ms(1_500), 1_000).await, 0);
    // Both together.
    let (fast, slow) = tokio::join!(
        failures(&stack, 50, ms(1_500), 10),
        failures(&stack, 50, ms(1_500), 1_500)
    );
    assert_eq!((fast, slow), (0, 0));
    // A burst from a fresh start, and two thousand long polls.
    for (calls, time) in [(150, 50), (2_000, 500)] {
        let stack = resilient::server("s").build().unwrap();
        assert_eq!(failures(&stack, calls, Duration::ZERO, time).await, 0);
        assert_eq!(stack.load_shed().limit(), None);
    }
}

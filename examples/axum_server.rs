//! An axum server behind the standard stack: what its callers see when it is well, when it is full, when it is too slow, and what
//! becomes of a correlation ID.
//!
//! Run it with `cargo run --example axum_server`: it serves on a loopback port, calls itself, and ends. With an address,
//! `cargo run --example axum_server -- 127.0.0.1:3000`, it goes on serving; try it with curl.

use std::time::Duration;

use axum::{Router, extract::Path, routing::get};
use mainstay::{BoxError, Context, http};
use tokio::net::TcpListener;

/// Works for so many milliseconds, part of it in a task of its own.
async fn work(Path(millis): Path<u64>) -> String {
    let part = mainstay::spawn(async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let context = Context::current();
        let id = context.correlation_id().map(ToString::to_string);
        println!(
            "  server: worked {millis} ms for {}",
            id.unwrap_or_default()
        );
    });
    let left = Context::current().remaining().unwrap_or_default();
    match part.await {
        Ok(()) => format!("done; at the start {} ms were left", left.as_millis()),
        Err(error) => error.to_string(),
    }
}

fn app() -> Result<Router, BoxError> {
    let stack = http::server("work")
        .timeout(Duration::from_millis(300))
        .bulkhead(2)
        .build()?;
    println!("{stack}");
    Ok(Router::new()
        .route("/work/{millis}", get(work))
        .layer(stack)
        // What comes after a layer is outside of it: who asks whether the server is well is answered when it is full, too.
        .route("/health", get(async || "well")))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if let Some(address) = std::env::args().nth(1) {
        let listener = TcpListener::bind(&address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        println!("try: curl -i http://{address}/work/100");
        return Ok(axum::serve(listener, app()?).await?);
    }

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = app()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let http = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()?;

    println!("one call, with an ID of its own:");
    show(
        http.get(format!("{url}/work/10"))
            .header("x-correlation-id", "order-4711"),
    )
    .await?;
    println!("one call that takes too long:");
    show(http.get(format!("{url}/work/900"))).await?;
    println!("three calls at once, where two fit, and one that is not counted:");
    let call = |path| show(http.get(format!("{url}{path}")));
    let work = || call("/work/100");
    tokio::try_join!(work(), work(), work(), call("/health"))?;

    server.abort();
    Ok(())
}

/// Sends a request and prints what came of it.
async fn show(request: reqwest::RequestBuilder) -> Result<(), BoxError> {
    let response = request.send().await?;
    let header = |name| {
        let value = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or("none")
            .to_owned()
    };
    let (status, id, retry) = (
        response.status(),
        header("x-correlation-id"),
        header("retry-after"),
    );
    let body = response.text().await?;
    println!("  {status}, ID {id}, retry after {retry}: {body}");
    Ok(())
}

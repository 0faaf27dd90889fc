//! An axum server behind a standard stack. It shows what callers receive from a healthy handler,
//! from a handler that is too slow and from a full server, and how a correlation ID is propagated.
//!
//! Run it with `cargo run --example axum_server`. It serves on a loopback port, calls itself, and
//! ends. With an address it keeps serving, and you can try it with curl:
//! `cargo run --example axum_server -- 127.0.0.1:3000`.

use std::time::Duration;

use axum::{Router, extract::Path, routing::get};
use mainstay::{BoxError, Context, http};
use tokio::net::TcpListener;

/// Works for `millis` milliseconds, in a task of its own.
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
        Ok(()) => format!("done, with {} ms left at the start", left.as_millis()),
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
        // A route that is added after the layer is outside of it. So a health check is answered
        // while the server is full, too.
        .route("/health", get(async || "healthy")))
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

    println!("a call with an ID of its own:");
    show(
        http.get(format!("{url}/work/10"))
            .header("x-correlation-id", "order-4711"),
    )
    .await?;
    println!("a call that takes too long:");
    show(http.get(format!("{url}/work/900"))).await?;
    println!("three calls at once with a limit of two, and a health check:");
    let call = |path| show(http.get(format!("{url}{path}")));
    let work = || call("/work/100");
    tokio::try_join!(work(), work(), work(), call("/health"))?;

    server.abort();
    Ok(())
}

/// Sends a request and prints the response.
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

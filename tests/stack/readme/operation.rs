//! The README's readiness route, graceful shutdown and settings file.

use std::future::IntoFuture as _;
use std::path::Path;
use std::time::Duration;

use axum::{Router, routing::post};
use mainstay::health::Health;
use mainstay::registry::Registry;
use mainstay::shutdown::Shutdown;
use mainstay::{BoxError, Mode};
use tokio::net::TcpListener;

use super::snippets::blocks;
use crate::common::{listener, within};

async fn create() -> &'static str {
    "created"
}

#[expect(dead_code, reason = "its signals would reach the other tests, too")]
async fn main(listener: TcpListener) -> Result<(), BoxError> {
    let orders = mainstay::http::server("orders").build()?;
    // README: begin operation
    let shutdown = Shutdown::on_signal()?; // SIGTERM or Ctrl-C
    let health = Health::global().shutdown(&shutdown).service();
    let app = Router::new()
        .route("/orders", post(create))
        .layer(orders)
        .layer(shutdown.close_connections())
        .route_service("/livez", health.clone())
        .route_service("/readyz", health);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    // README: end
    Ok(())
}

// README: begin settings
fn reload(path: &Path) -> Result<(), BoxError> {
    let file = std::fs::read_to_string(path)?;
    for (stack, changes) in Registry::global().configure(toml::Deserializer::parse(&file)?)? {
        println!("{stack}: {changes}");
    }
    Ok(())
}
// README: end

#[tokio::test]
async fn its_settings_file_takes_effect_and_a_wrong_one_does_not() -> Result<(), BoxError> {
    // No other test may have a stack of this name in the process-wide registry.
    let file = blocks().into_iter().find(|block| block.language == "toml");
    let file = file.unwrap().text.replace("[payments]", "[of-readme]");
    let stack = mainstay::http::client("of-readme").build()?;
    let path = std::env::temp_dir().join(format!("mainstay-readme-{}.toml", std::process::id()));
    std::fs::write(&path, &file)?;
    reload(&path)?;
    let settings = stack.settings();
    assert_eq!(settings.timeout.timeout, Duration::from_secs(3).into());
    assert_eq!(settings.bulkhead.limit, Some(64));
    assert_eq!(settings.circuit_breaker.mode, Mode::Shadow);
    std::fs::write(&path, file.replace("64", "0"))?;
    let error = reload(&path).unwrap_err().to_string();
    let expected = "of-readme.bulkhead.limit: 0 is refused: must be from 1 to 16777215";
    assert!(error.contains(expected), "{error}");
    assert_eq!(stack.settings(), settings);
    std::fs::remove_file(&path)?;
    Ok(())
}

/// The same with another beginning and a shorter drain time.
async fn run(listener: TcpListener, shutdown: Shutdown) -> Result<(), BoxError> {
    let orders = mainstay::http::server("orders").build()?;
    let health = Health::global().shutdown(&shutdown).service();
    let app = Router::new()
        .route("/orders", post(create))
        .layer(orders)
        .layer(shutdown.close_connections())
        .route_service("/livez", health.clone())
        .route_service("/readyz", health);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    Ok(())
}

#[tokio::test]
async fn it_is_ready_until_its_end_begins() {
    let (listener, address) = listener().await;
    let shutdown = Shutdown::builder()
        .drain(Duration::from_millis(500))
        .manual();
    let running = run(listener, shutdown.clone());
    let server = tokio::spawn(async move { running.await.map_err(|error| error.to_string()) });
    let client = reqwest::Client::new();
    let ready = || client.get(format!("http://{address}/readyz")).send();
    assert_eq!(within("an answer", ready()).await.unwrap().status(), 200);
    shutdown.begin();
    let answer = within("an answer", ready()).await.unwrap();
    assert_eq!(answer.status(), 503);
    let order = client.post(format!("http://{address}/orders")).send();
    assert_eq!(within("an answer", order).await.unwrap().status(), 200);
    within("the end", server).await.unwrap().unwrap();
}

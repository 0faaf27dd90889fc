//! What the tests over real sockets have in common.
#![allow(dead_code, reason = "no test needs all of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// So long a test waits for what must happen, before it fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A listener on a free port of the loopback interface.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves an axum router until the test ends.
pub(crate) async fn serve(router: axum::Router) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A door that handlers wait behind, and that counts who stands there.
#[derive(Clone)]
pub(crate) struct Door {
    open: Arc<Semaphore>,
    entered: Arc<AtomicUsize>,
}

impl Door {
    pub(crate) fn closed() -> Self {
        Self {
            open: Arc::new(Semaphore::new(0)),
            entered: Arc::default(),
        }
    }

    /// Waits until the door is open.
    pub(crate) async fn pass(&self) {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let _permit = self.open.acquire().await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// How many have come so far.
    pub(crate) fn entered(&self) -> usize {
        self.entered.load(Ordering::SeqCst)
    }
}

/// Sends these bytes as they are and reads until the server closes.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    within("an answer", async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        response
    })
    .await
}

/// Keeps a second subscriber of `tracing` alive. While a process has only one, the first thread that reaches a log line decides whether anybody
/// wants it, even if the subscriber is another thread's.
pub(crate) fn keep_second_subscriber() {
    static SECOND: LazyLock<tracing::Dispatch> =
        LazyLock::new(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));
    LazyLock::force(&SECOND);
}

//! Graceful shutdown: a program ends without failing a request.
//!
//! A program that ends at once fails the calls in flight, and the calls that callers send before they
//! know that it has ended. A [`Shutdown`] ends it in four steps:
//!
//! | step | when | what happens |
//! |---|---|---|
//! | 1. not ready | SIGTERM, Ctrl-C, or a future of yours | [readiness](crate::health) fails |
//! | 2. drain | then, for [5 seconds](ShutdownBuilder::drain) | new calls are still served, because callers learn of it with a delay; HTTP/1 responses say [`connection: close`](Shutdown::close_connections) |
//! | 3. close | then | [`closing()`](Shutdown::closing) ends: the server accepts no more connections, and event streams [end](Shutdown::until_closing) |
//! | 4. wait | then, for at most [20 seconds](ShutdownBuilder::grace) | calls in flight end; then [`run`](Shutdown::run) returns, and says what was cut |
//!
//! A second SIGTERM or Ctrl-C ends all waits at once.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use mainstay::health::Health;
//! use mainstay::shutdown::Shutdown;
//!
//! # #[tokio::main] async fn main() -> Result<(), mainstay::BoxError> {
//! let shutdown = Shutdown::on_signal()?;
//! let health = Health::global().shutdown(&shutdown).service();
//! let app = Router::new()
//!     .route("/orders", get(async || "none"))
//!     .layer(mainstay::http::server("orders").build()?)
//!     .layer(shutdown.close_connections())
//!     .route_service("/livez", health.clone()) // outside of the stack
//!     .route_service("/readyz", health);
//!
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
//! let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
//! shutdown.run(server.into_future()).await??;
//! # Ok(())
//! # }
//! ```
//!
//! tonic's server takes the same future: `server.serve_with_shutdown(address, shutdown.closing())`. For
//! several servers, join their futures: `shutdown.run(async { tokio::join!(http, grpc) })`. In a
//! consumer of messages, accept no messages after [`closing`](Shutdown::closing), and await
//! [`calls_ended`](Shutdown::calls_ended).
//!
//! # Event streams
//!
//! A server waits for its open responses, and an event stream does not end by itself. So end it:
//!
//! ```
//! use axum::response::sse::{Event, Sse};
//! use futures::{Stream, StreamExt as _, stream};
//! use mainstay::shutdown::Shutdown;
//! use std::convert::Infallible;
//!
//! fn ticks(shutdown: &Shutdown) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
//!     let ticks = stream::repeat(()).map(|()| Ok(Event::default().data("tick")));
//!     Sse::new(shutdown.until_closing(ticks))
//! }
//! ```
//!
//! A browser reconnects an event stream that ends, to another instance. For a gRPC stream, chain a last
//! item if callers should distinguish a shutdown from the end:
//! `Err(Status::unavailable("closing"))`. Code of other kinds awaits
//! [`closing`](Shutdown::closing).
//!
//! # Which times
//!
//! The process must end before the platform kills it. Kubernetes sends SIGTERM, removes the pod from
//! the endpoints of its services at the same time, and kills it after
//! `terminationGracePeriodSeconds`, 30 by default, which includes the time of a `preStop` hook. With
//! this module no `preStop` hook with a `sleep` is needed: the drain time does the same. The defaults
//! add up to 25 seconds.
//!
//! # Sharing, cancellation, panics
//!
//! Clones of a [`Shutdown`], and the futures and streams that it makes, share one shutdown and keep it
//! alive. Dropping one of the futures changes nothing. All methods but
//! [`on_signal`](Shutdown::on_signal) and [`on`](ShutdownBuilder::on) work outside of a runtime.

mod builder;
#[cfg(feature = "http")]
mod close_connections;
mod closing;
mod cut;
#[cfg(all(feature = "signal", any(unix, windows)))]
mod signals;
mod state;

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;

use self::state::State;
use crate::runtime::{Moment, Timer};

pub use builder::ShutdownBuilder;
#[cfg(feature = "http")]
pub use close_connections::{CloseConnections, CloseConnectionsFuture, CloseConnectionsLayer};
pub use closing::{Closing, UntilClosing};
pub use cut::{Cut, InFlight};

/// How often the calls in flight are counted while the program ends.
const INTERVAL: Duration = Duration::from_millis(10);

/// A graceful shutdown: see the [module](self). Clones are the same shutdown.
#[derive(Clone)]
pub struct Shutdown {
    state: Arc<State>,
}

impl Shutdown {
    /// A shutdown with the default times that SIGTERM or Ctrl-C begins: see
    /// [`ShutdownBuilder::on_signal`].
    ///
    /// # Errors
    ///
    /// When the system refuses the signal handler.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without `enable_io`.
    #[cfg(all(feature = "signal", any(unix, windows)))]
    pub fn on_signal() -> std::io::Result<Self> {
        Self::builder().on_signal()
    }

    /// A builder, for other times, and for other reasons to begin than a signal.
    ///
    /// ```
    /// use mainstay::shutdown::Shutdown;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let shutdown = Shutdown::builder().drain(Duration::from_millis(10)).on(stopped);
    /// stop.send(()).unwrap();
    /// shutdown.closing().await;
    /// # }
    /// ```
    pub fn builder() -> ShutdownBuilder {
        ShutdownBuilder::new()
    }

    /// Begins the shutdown. If it has begun, nothing changes.
    pub fn begin(&self) {
        self.state.begin();
    }

    /// Begins the shutdown if it has not begun, and ends all its waits, as a second signal does.
    pub fn hurry(&self) {
        self.state.hurry();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state.has_begun()
    }

    /// Ends when the shutdown begins, and readiness fails.
    pub fn begun(&self) -> Closing {
        let state = Arc::clone(&self.state);
        Closing::new(async move {
            state.begun().await;
        })
    }

    /// Ends when the drain time is over: for axum's `with_graceful_shutdown`, tonic's
    /// `serve_with_shutdown`, and handlers of long streams.
    pub fn closing(&self) -> Closing {
        let state = Arc::clone(&self.state);
        Closing::new(async move { state.closing().await })
    }

    /// The same stream, but it ends when the drain time is over.
    ///
    /// As long as it exists, the stream counts as in flight in [`calls_ended`](Self::calls_ended) and
    /// [`Cut`].
    pub fn until_closing<S: Stream>(&self, stream: S) -> UntilClosing<S> {
        UntilClosing::new(stream, self.closing(), &self.state)
    }

    /// A layer that adds `connection: close` to HTTP/1 responses from the beginning of the shutdown.
    ///
    /// Otherwise a caller that keeps its connection, such as a load balancer, sends calls on it until
    /// the server closes, and a call that is sent at that moment fails. HTTP/2 needs no such field:
    /// its servers announce the end of a connection.
    ///
    /// Put it outside of the server's stack, so that it also sees rejections.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn close_connections(&self) -> CloseConnectionsLayer {
        CloseConnectionsLayer(Arc::clone(&self.state))
    }

    /// Runs a server to its end, but not beyond the end of the shutdown.
    ///
    /// The server must end by itself after [`closing`](Self::closing), as axum and tonic do. They end
    /// once all their connections are closed.
    ///
    /// # Errors
    ///
    /// When the drain time and the grace time are over, or after a second signal, and the server has
    /// not ended. The server's future is dropped. Tasks that it has spawned for its connections end
    /// with the runtime: so return from `main`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server's future is dropped.
    pub async fn run<S: IntoFuture>(&self, server: S) -> Result<S::Output, Cut> {
        let mut server = pin!(server.into_future());
        let mut end = pin!(self.state.end());
        poll_fn(|cx| {
            if let Poll::Ready(output) = server.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            end.as_mut().poll(cx).map(|()| Err(self.cut()))
        })
        .await
    }

    /// Waits until the drain time is over, and then until no server stack of the registry has a call
    /// in flight and no [stream](Self::until_closing) is left.
    ///
    /// It is for servers that [`run`](Self::run) cannot run, such as consumers of messages. A call
    /// counts to the end of its response body.
    ///
    /// # Errors
    ///
    /// When the grace time is over, or after a second signal, and calls are in flight.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing changes.
    pub async fn calls_ended(&self) -> Result<(), Cut> {
        self.state.closing().await;
        let mut end = pin!(self.state.end());
        while self.state.in_flight().is_some() {
            let mut pause = pin!(Timer::at(Moment::now().after(INTERVAL)));
            let is_over = poll_fn(|cx| match end.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => pause.as_mut().poll(cx).map(|()| false),
            });
            if is_over.await {
                return self.state.in_flight().map_or(Ok(()), |_| Err(self.cut()));
            }
        }
        Ok(())
    }

    /// Logs and returns what is cut now.
    fn cut(&self) -> Cut {
        let cut = self.state.in_flight().unwrap_or(Cut::nothing_known());
        #[cfg(feature = "tracing")]
        crate::runtime::isolate::isolate(|| {
            tracing::warn!(target: "mainstay::shutdown", "{cut}");
        });
        cut
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}

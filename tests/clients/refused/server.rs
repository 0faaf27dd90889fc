//! A server of HTTP/2 that refuses streams, and does not say so in its settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::common::listener;

/// What it refuses.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Refuses {
    All,
    /// All but so many streams at a time.
    Above(usize),
    /// All that comes on a connection after so many streams, by a `GOAWAY`.
    After(usize),
}

#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    in_flight: usize,
    refused: usize,
    /// How often the handler saw each body, or in gRPC each message.
    handled: BTreeMap<Bytes, usize>,
    headers: Vec<HeaderMap>,
}

impl Seen {
    pub(crate) fn refused(&self) -> usize {
        self.0.lock().unwrap().refused
    }

    /// So many requests were handled, each of them once.
    pub(crate) fn assert_handled_once(&self, requests: usize) {
        let inner = self.0.lock().unwrap();
        assert_eq!(inner.handled.len(), requests);
        assert!(inner.handled.values().all(|&times| times == 1));
    }

    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.0.lock().unwrap().headers.clone()
    }

    fn enters(&self, most: usize) -> bool {
        let mut inner = self.0.lock().unwrap();
        if inner.in_flight >= most {
            inner.refused += 1;
            return false;
        }
        inner.in_flight += 1;
        true
    }
}

pub(crate) async fn serve(refuses: Refuses, busy: Duration) -> (SocketAddr, Seen) {
    let (listener, address) = listener().await;
    let seen = Seen::default();
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, refuses, busy, all.clone()));
        }
    });
    (address, seen)
}

pub(crate) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    refuses: Refuses,
    busy: Duration,
    seen: Seen,
) {
    let mut server = h2::server::Builder::new();
    // The data of the streams that it refuses arrives after their end and is never read. h2 would end the connection for that.
    server
        .data_frame_budget(1 << 30)
        .max_concurrent_reset_streams(1 << 20)
        .max_local_error_reset_streams(None);
    let Ok(mut connection) = server.handshake(stream).await else {
        return;
    };
    let mut accepted = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        accepted += 1;
        let most = match refuses {
            Refuses::All => 0,
            Refuses::Above(most) => most,
            Refuses::After(most) => {
                if accepted == most {
                    connection.graceful_shutdown();
                }
                usize::MAX
            }
        };
        if seen.enters(most) {
            tokio::spawn(handle(request, respond, busy, seen.clone()));
        } else {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    }
}

async fn handle(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    busy: Duration,
    seen: Seen,
) {
    let (head, mut body) = request.into_parts();
    let mut whole = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        drop(body.flow_control().release_capacity(data.len()));
        whole.extend(data);
    }
    {
        let mut inner = seen.0.lock().unwrap();
        *inner.handled.entry(whole.into()).or_default() += 1;
        inner.headers.push(head.headers);
    }
    tokio::time::sleep(busy).await;
    // There is room again before anybody hears of it.
    seen.0.lock().unwrap().in_flight -= 1;
    let head = Response::builder().header("content-type", "application/grpc");
    let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) else {
        return;
    };
    drop(stream.send_data(Bytes::from_static(&[0; 5]), false));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    drop(stream.send_trailers(trailers));
}

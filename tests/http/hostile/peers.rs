//! Peers that do what no peer should: a list of acts, byte by byte or frame by frame.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::common::listener;

/// A server that is wild until it is tamed.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    tame: Arc<AtomicBool>,
}

impl Peer {
    /// From now on it behaves.
    pub(crate) fn tame(&self) {
        self.tame.store(true, Ordering::SeqCst);
    }

    async fn of<W, T>(
        wild: impl Fn(TcpStream) -> W + Send + 'static,
        tame: impl Fn(TcpStream) -> T + Send + 'static,
    ) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let (listener, address) = listener().await;
        let is_tame = Arc::new(AtomicBool::new(false));
        let peer = Self {
            address,
            tame: Arc::clone(&is_tame),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if is_tame.load(Ordering::SeqCst) {
                    tokio::spawn(tame(stream));
                } else {
                    tokio::spawn(wild(stream));
                }
            }
        });
        peer
    }
}

/// Closed by a reset, with whatever is still under way.
fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

// --- Bytes

/// What a peer does with a connection, whatever it carries.
#[derive(Clone)]
pub(crate) enum Act {
    /// Reads the head of a request.
    Read,
    Send(Vec<u8>),
    /// Sends this for ever.
    Repeat(Vec<u8>),
    /// Waits until the other side goes away.
    Wait,
    /// Resets the connection.
    Reset,
    /// Nothing, for so long.
    Pause(Duration),
}

pub(crate) use Act::{Read, Reset, Wait};

pub(crate) fn send(bytes: impl AsRef<[u8]>) -> Act {
    Act::Send(bytes.as_ref().to_vec())
}

pub(crate) fn repeat(bytes: impl AsRef<[u8]>) -> Act {
    Act::Repeat(bytes.as_ref().repeat(512))
}

/// Does these acts, and then hangs up.
pub(crate) async fn act(mut stream: TcpStream, acts: Vec<Act>) {
    for act in acts {
        let done = match act {
            Read => read_head(&mut stream).await,
            Act::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
            Act::Repeat(bytes) => {
                while stream.write_all(&bytes).await.is_ok() {}
                false
            }
            Wait => {
                let mut sink = tokio::io::sink();
                tokio::io::copy(&mut stream, &mut sink).await.is_ok()
            }
            Reset => {
                // What was sent before is to be read first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                reset_on_close(&stream);
                false
            }
            Act::Pause(time) => {
                tokio::time::sleep(time).await;
                true
            }
        };
        if !done {
            return;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
            continue;
        }
        return false;
    }
    true
}

/// Speaks HTTP/1.1, more or less.
pub(crate) async fn h1(acts: Vec<Act>) -> Peer {
    let well = vec![
        Read,
        send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        Wait,
    ];
    Peer::of(
        move |stream| act(stream, acts.clone()),
        move |stream| act(stream, well.clone()),
    )
    .await
}

/// Bytes where HTTP/2 is expected.
pub(crate) async fn h2_bytes(acts: Vec<Act>) -> Peer {
    Peer::of(
        move |stream| act(stream, acts.clone()),
        |stream| streams(stream, well_behaved()),
    )
    .await
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

// --- Streams

/// What a peer does with a stream of HTTP/2.
#[derive(Clone)]
pub(crate) enum Step {
    /// The head, and whether that is all.
    Head(u16, Fields, bool),
    /// A message of gRPC without anything in it, and whether that is all.
    Message(bool),
    /// Something else as data.
    Data(&'static [u8]),
    /// Data for ever.
    Endless,
    /// Trailers.
    End(Fields),
    Break(h2::Reason),
    /// Ends the connection for this reason.
    GoAway(h2::Reason),
    /// Resets the connection under it all.
    Cut,
    /// Nothing, for so long.
    Pause(Duration),
}

pub(crate) type Fields = Vec<(String, Vec<u8>)>;

pub(crate) fn fields(fields: &[(&str, &[u8])]) -> Fields {
    let owned = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
    fields.iter().map(owned).collect()
}

fn map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    map
}

/// The head of a response of gRPC.
pub(crate) fn grpc_head() -> Step {
    Step::Head(200, fields(&[("content-type", b"application/grpc")]), false)
}

fn well_behaved() -> Vec<Step> {
    let fine = fields(&[("grpc-status", b"0")]);
    vec![grpc_head(), Step::Message(false), Step::End(fine)]
}

/// Speaks HTTP/2, frame by frame, and then waits for the other side to go.
pub(crate) async fn h2(steps: Vec<Step>) -> Peer {
    Peer::of(
        move |stream| streams(stream, steps.clone()),
        |stream| streams(stream, well_behaved()),
    )
    .await
}

enum Order {
    GoAway(h2::Reason),
    Cut,
}

async fn streams(stream: TcpStream, steps: Vec<Step>) {
    if steps.iter().any(|step| matches!(step, Step::Cut)) {
        reset_on_close(&stream);
    }
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let (orders, mut ordered) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                // The request's body is kept and never read.
                Some(Ok((request, respond))) => {
                    let follow = follow(respond, steps.clone(), orders.clone());
                    tokio::spawn(async move {
                        follow.await;
                        drop(request);
                    });
                }
                _ => return,
            },
            Some(order) = ordered.recv() => match order {
                Order::GoAway(reason) => connection.abrupt_shutdown(reason),
                Order::Cut => return,
            },
        }
    }
}

async fn follow(
    mut respond: h2::server::SendResponse<Bytes>,
    steps: Vec<Step>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let mut body = None;
    for step in steps {
        // What was sent has to leave before the next thing happens.
        tokio::time::sleep(Duration::from_millis(5)).await;
        match step {
            Step::Head(status, fields, all) => {
                let mut head = Response::new(());
                *head.status_mut() = status.try_into().unwrap();
                *head.headers_mut() = map(&fields);
                body = respond.send_response(head, all).ok();
            }
            Step::Message(all) => {
                let sent = body.as_mut().map(|body: &mut h2::SendStream<Bytes>| {
                    body.send_data(Bytes::from_static(&[0; 5]), all)
                });
                drop(sent);
            }
            Step::Data(bytes) => {
                let bytes = Bytes::from_static(bytes);
                drop(body.as_mut().map(|body| body.send_data(bytes, false)));
            }
            Step::Endless => {
                let Some(body) = &mut body else { return };
                loop {
                    body.reserve_capacity(16_384);
                    match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                        Some(Ok(capacity)) => {
                            let zeros = Bytes::from(vec![0; capacity]);
                            if body.send_data(zeros, false).is_err() {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            }
            Step::End(fields) => {
                drop(body.as_mut().map(|body| body.send_trailers(map(&fields))));
            }
            Step::Break(reason) => match &mut body {
                Some(body) => body.send_reset(reason),
                None => respond.send_reset(reason),
            },
            Step::GoAway(reason) => drop(orders.send(Order::GoAway(reason))),
            Step::Cut => drop(orders.send(Order::Cut)),
            Step::Pause(time) => tokio::time::sleep(time).await,
        }
    }
    // Neither end of the stream is dropped before the other side has had enough of it.
    tokio::time::sleep(Duration::from_secs(2)).await;
}

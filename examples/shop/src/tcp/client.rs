//! The client's side of a connection.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};
use tower::Service;

use super::frame::{Frame, Frames};
use super::{Limits, Reply};
use crate::message::{Code, Failure, Message};

/// Calls a server over one connection, which is opened when it is needed.
///
/// Clones share the connection. A call that is dropped is cancelled at the server.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    address: String,
    limits: Limits,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    outgoing: mpsc::Sender<Frame>,
    calls: Arc<Calls>,
}

/// Who waits for answers; `None` after the connection was lost.
struct Calls(Mutex<State>);

struct State {
    waiting: HashMap<String, mpsc::Sender<Event>>,
    /// Whether new calls are accepted.
    is_open: bool,
    /// Whether the server owes a frame: a call waits, or was sent after the last frame that came.
    awaits: bool,
}

/// After so long without a frame, a server that owes one is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);

/// After so many silences, the connection is taken for lost: its host may be gone without a word.
const SILENCES: u32 = 3;

enum Event {
    Answer(Value),
    Item(Value),
    End,
    Failure(Failure),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.address).finish()
    }
}

impl Client {
    /// A client of the server at this address. It connects when it is called.
    pub fn new(address: impl Into<String>, limits: Limits) -> Self {
        Self(Arc::new(Shared {
            address: address.into(),
            limits,
            connection: tokio::sync::Mutex::new(None),
        }))
    }
}

impl Service<Message> for Client {
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let connection = shared.connection().await?;
            call(connection, message, shared.limits.items).await
        })
    }
}

impl Shared {
    /// The connection, or a new one after it was lost.
    async fn connection(&self) -> Result<Connection, Failure> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| open.calls.is_open()) {
            return Ok(open.clone());
        }
        let not_sent = |error: &dyn std::fmt::Display| {
            let address = &self.address;
            Failure::new(
                Code::NotSent,
                format!("{address} cannot be reached: {error}"),
            )
        };
        let stream = timeout(self.limits.patience, TcpStream::connect(&self.address)).await;
        let stream = stream
            .map_err(|_| not_sent(&format_args!("no answer for {:?}", self.limits.patience)))?
            .map_err(|error| not_sent(&error))?;
        let open = Connection::of(stream, self.limits);
        *connection = Some(open.clone());
        Ok(open)
    }
}

impl Connection {
    fn of(stream: TcpStream, limits: Limits) -> Self {
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let calls = Arc::new(Calls(Mutex::new(State {
            waiting: HashMap::new(),
            is_open: true,
            awaits: false,
        })));
        let (outgoing, mut frames) = mpsc::channel::<Frame>(limits.calls);
        let of_writer = Arc::clone(&calls);
        tokio::spawn(async move {
            let mut sink = FramedWrite::new(write, Frames::new(limits.frame));
            while let Some(frame) = frames.recv().await {
                match timeout(limits.patience, sink.send(&frame)).await {
                    Ok(Ok(())) => {}
                    // Nothing of it was written: it is too long for this connection.
                    Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidInput => {
                        if let Frame::Call(message) = frame {
                            let text = format!("{}: {error}", message.pattern);
                            let failure = Failure::new(Code::Invalid, text);
                            of_writer.deliver(&message.id, Event::Failure(failure));
                        }
                    }
                    Ok(Err(_)) | Err(_) => break,
                }
            }
            of_writer.lose();
        });
        let frames = FramedRead::new(read, Frames::new(limits.frame));
        tokio::spawn(receive(frames, outgoing.clone(), Arc::clone(&calls)));
        Self { outgoing, calls }
    }
}

/// Passes frames to those who wait for them, until the connection is lost.
async fn receive(
    mut frames: FramedRead<OwnedReadHalf, Frames>,
    outgoing: mpsc::Sender<Frame>,
    calls: Arc<Calls>,
) {
    let mut silences = 0;
    loop {
        let frame = match timeout(SILENCE, frames.next()).await {
            Ok(Some(Ok(Ok(frame)))) => frame,
            // It ends the connection: what follows has no meaning.
            Ok(Some(Ok(Err(_)) | Err(_)) | None) => break,
            Err(_) if !calls.lock().awaits => continue,
            Err(_) if silences < SILENCES => {
                silences += 1;
                let _ = outgoing.try_send(Frame::Ping);
                continue;
            }
            Err(_) => break,
        };
        silences = 0;
        match frame {
            Frame::Answer { id, payload } => calls.deliver(&id, Event::Answer(payload)),
            Frame::Item { id, payload } => calls.deliver(&id, Event::Item(payload)),
            Frame::End { id } => calls.deliver(&id, Event::End),
            Frame::Failure { id, failure } => calls.deliver(&id, Event::Failure(failure)),
            Frame::Goodbye => calls.lock().is_open = false,
            Frame::Pong => {}
            Frame::Call(_) | Frame::Cancel(_) | Frame::Ping => break,
        }
        let mut state = calls.lock();
        state.awaits = !state.waiting.is_empty();
    }
    calls.lose();
}

impl Calls {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        self.lock().is_open
    }

    fn deliver(&self, id: &str, event: Event) {
        let mut state = self.lock();
        let Some(waiting) = state.waiting.get(id) else {
            // Cancelled meanwhile.
            return;
        };
        let is_last = !matches!(event, Event::Item(_));
        // A reader that is too slow for its stream loses it, and not all others their connection.
        if waiting.try_send(event).is_err() || is_last {
            state.waiting.remove(id);
        }
    }

    /// All calls in flight fail when their senders are dropped.
    fn lose(&self) {
        let mut state = self.lock();
        state.is_open = false;
        state.waiting.clear();
    }
}

/// A call in flight. Dropped before its end, it is cancelled at the server.
struct Guard {
    id: Option<String>,
    connection: Connection,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let was_waiting = self.connection.calls.lock().waiting.remove(&id).is_some();
        if was_waiting {
            // Without room the server finds out at the deadline.
            let _ = self.connection.outgoing.try_send(Frame::Cancel(id));
        }
    }
}

async fn call(connection: Connection, message: Message, items: usize) -> Result<Reply, Failure> {
    let id = message.id.clone();
    // One more than the items: the end.
    let (waiting, mut events) = mpsc::channel(items + 1);
    {
        let mut state = connection.calls.lock();
        if !state.is_open {
            return Err(Failure::new(
                Code::NotSent,
                "the connection is about to end",
            ));
        }
        if state.waiting.contains_key(&id) {
            let text = format!("id = {id} is refused: a call with this ID is in flight");
            return Err(Failure::new(Code::Overloaded, text));
        }
        state.waiting.insert(id.clone(), waiting);
        state.awaits = true;
    }
    let mut guard = Guard {
        id: Some(id),
        connection,
    };
    let sent = guard.connection.outgoing.send(Frame::Call(message)).await;
    if sent.is_err() {
        return Err(Failure::new(Code::NotSent, "the connection was lost"));
    }
    let lost = || Failure::new(Code::Lost, "the connection was lost before the answer");
    match events.recv().await {
        Some(Event::Answer(payload)) => {
            guard.id = None;
            Ok(Reply::One(payload))
        }
        Some(Event::Failure(failure)) => {
            guard.id = None;
            Err(failure)
        }
        Some(first @ (Event::Item(_) | Event::End)) => Ok(Reply::Stream(Box::pin(Received {
            first: Some(first),
            events,
            guard,
        }))),
        None => Err(lost()),
    }
}

/// The items of a stream.
struct Received {
    first: Option<Event>,
    events: mpsc::Receiver<Event>,
    guard: Guard,
}

impl Stream for Received {
    type Item = Result<Value, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.guard.id.is_none() {
            return Poll::Ready(None);
        }
        let event = match self.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(self.events.poll_recv(cx)),
        };
        Poll::Ready(match event {
            Some(Event::Item(payload) | Event::Answer(payload)) => Some(Ok(payload)),
            Some(Event::End) => {
                self.guard.id = None;
                None
            }
            Some(Event::Failure(failure)) => {
                self.guard.id = None;
                Some(Err(failure))
            }
            None => {
                self.guard.id = None;
                let text = "the stream was lost, or read too slowly";
                Some(Err(Failure::new(Code::Lost, text)))
            }
        })
    }
}

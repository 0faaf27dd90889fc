//! The server's side of a connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};
use tower::{Service, ServiceExt};

use super::frame::{Frame, Frames, Unread};
use super::{Limits, Reply};
use crate::message::{Code, Failure, Kind, Message};

/// Serves calls until `closing` completes, and then those in flight.
///
/// Connections end when their calls have ended. A call is cancelled when its client cancels it or is
/// gone.
///
/// # Errors
///
/// The listener failed for good. What goes wrong with one connection ends only this one.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    closing: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Service<Message, Response = Reply, Error = Failure, Future: Send> + Clone + Send + 'static,
{
    let (close, is_closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut closing = std::pin::pin!(closing);
    loop {
        tokio::select! {
            () = &mut closing => break,
            accepted = listener.accept() => {
                match accepted {
                    Ok((stream, _)) => {
                        let connection = Connection { limits, service: service.clone() };
                        connections.spawn(connection.run(stream, is_closing.clone()));
                    }
                    // The peer was gone already, or there are too many files open.
                    Err(_) => tokio::time::sleep(limits.patience / 100).await,
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let _ = close.send(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}

struct Connection<S> {
    limits: Limits,
    service: S,
}

/// The calls of a connection.
#[derive(Default)]
struct Calls {
    tasks: JoinSet<()>,
    by_id: HashMap<Arc<str>, AbortHandle>,
    by_task: HashMap<Id, Arc<str>>,
}

impl Calls {
    /// Ends a call. Its ID is free at once: the next attempt has the same.
    fn cancel(&mut self, id: &str) {
        if let Some(task) = self.by_id.remove(id) {
            self.by_task.remove(&task.id());
            task.abort();
        }
    }

    /// Forgets a call. Returns its ID if it failed to answer.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) -> Option<Arc<str>> {
        let (task, panicked) = match ended {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let id = self.by_task.remove(&task)?;
        self.by_id.remove(&id);
        panicked.then_some(id)
    }
}

impl<S> Connection<S>
where
    S: Service<Message, Response = Reply, Error = Failure, Future: Send> + Clone + Send + 'static,
{
    async fn run(self, stream: TcpStream, mut is_closing: watch::Receiver<bool>) {
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let mut frames = FramedRead::new(read, Frames::new(self.limits.frame));
        let (answers, mut outgoing) = mpsc::channel::<Frame>(self.limits.items);
        let patience = self.limits.patience;
        let longest = self.limits.frame;
        let writer = tokio::spawn(async move {
            let mut sink = FramedWrite::new(write, Frames::new(longest));
            while let Some(frame) = outgoing.recv().await {
                // A client that does not read must not hold calls for ever.
                match timeout(patience, sink.send(&frame)).await {
                    Ok(Ok(())) => {}
                    // Nothing of it was written: it is too long for this connection.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                        let (Frame::Answer { id, .. } | Frame::Item { id, .. }) = frame else {
                            return;
                        };
                        let text = format!("the answer is too long: {error}");
                        let failure = Failure::new(Code::Invalid, text);
                        let failed = Frame::Failure { id, failure };
                        if !matches!(timeout(patience, sink.send(&failed)).await, Ok(Ok(()))) {
                            return;
                        }
                    }
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        });
        let mut calls = Calls::default();
        let mut is_open = true;
        loop {
            tokio::select! {
                // Only while open: a closed channel is always ready.
                changed = is_closing.changed(), if is_open => {
                    if changed.is_err() || *is_closing.borrow() {
                        is_open = false;
                        if answers.send(Frame::Goodbye).await.is_err() {
                            break;
                        }
                        if calls.by_id.is_empty() {
                            break;
                        }
                    }
                }
                Some(ended) = calls.tasks.join_next_with_id() => {
                    if let Some(id) = calls.ended(ended) {
                        let failure = Failure::new(Code::Internal, "the handler panicked");
                        let _ = answers.send(Frame::Failure { id: id.to_string(), failure }).await;
                    }
                    if !is_open && calls.by_id.is_empty() {
                        break;
                    }
                }
                frame = frames.next() => match frame {
                    Some(Ok(Ok(Frame::Call(message)))) => {
                        if let Some(refused) = self.begin(message, &mut calls, is_open, &answers)
                            && answers.send(refused).await.is_err()
                        {
                            break;
                        }
                    }
                    Some(Ok(Ok(Frame::Cancel(id)))) => calls.cancel(&id),
                    Some(Ok(Ok(Frame::Ping))) => {
                        if answers.send(Frame::Pong).await.is_err() {
                            break;
                        }
                    }
                    Some(Ok(Err(Unread { id: Some(id), error }))) => {
                        let failure = Failure::new(Code::Invalid, error);
                        if answers.send(Frame::Failure { id, failure }).await.is_err() {
                            break;
                        }
                    }
                    Some(Ok(Err(Unread { id: None, error }))) => {
                        let failure = Failure::new(Code::Invalid, error);
                        let _ = answers.send(Frame::Failure { id: String::new(), failure }).await;
                        break;
                    }
                    // The client speaks another protocol. What follows cannot be understood either.
                    Some(Ok(Ok(_))) => {
                        let failure = Failure::new(Code::Invalid, "a frame that only servers send");
                        let _ = answers.send(Frame::Failure { id: String::new(), failure }).await;
                        break;
                    }
                    Some(Err(error)) => {
                        let failure = Failure::new(Code::Invalid, error.to_string());
                        let _ = answers.send(Frame::Failure { id: String::new(), failure }).await;
                        break;
                    }
                    // The client is gone, and with it those who wait for answers.
                    None => break,
                }
            }
        }
        calls.tasks.abort_all();
        drop(calls);
        drop(answers);
        let _ = writer.await;
    }

    /// Starts a call, or returns why not.
    fn begin(
        &self,
        message: Message,
        calls: &mut Calls,
        is_open: bool,
        answers: &mpsc::Sender<Frame>,
    ) -> Option<Frame> {
        let refuse = |code, text: String| {
            let (id, failure) = (message.id.clone(), Failure::new(code, text));
            Some(Frame::Failure { id, failure })
        };
        if !is_open {
            return refuse(Code::NotSent, "the server is about to end".to_owned());
        }
        if let Err(failure) = message.check() {
            return refuse(failure.code, failure.message);
        }
        if calls.by_id.contains_key(&*message.id) {
            let text = format!(
                "id = {} is refused: a call with this ID is in flight",
                message.id
            );
            // The call before it may end at any moment.
            return refuse(Code::Overloaded, text);
        }
        if calls.by_id.len() >= self.limits.calls {
            let text = format!("more than {} calls in flight", self.limits.calls);
            return refuse(Code::Overloaded, text);
        }
        let id: Arc<str> = message.id.as_str().into();
        let call = handle(self.service.clone(), message, answers.clone());
        let task = calls.tasks.spawn(call);
        calls.by_task.insert(task.id(), Arc::clone(&id));
        calls.by_id.insert(id, task);
        None
    }
}

async fn handle<S>(service: S, message: Message, answers: mpsc::Sender<Frame>)
where
    S: Service<Message, Response = Reply, Error = Failure>,
{
    let (id, kind) = (message.id.clone(), message.kind);
    let reply = service.oneshot(message).await;
    let last = match reply {
        Ok(Reply::One(payload)) => Frame::Answer { id, payload },
        Ok(Reply::Stream(_)) if kind != Kind::Stream => {
            let failure = Failure::new(Code::Invalid, "this pattern is one of a stream");
            Frame::Failure { id, failure }
        }
        Ok(Reply::Stream(mut items)) => loop {
            let id = id.clone();
            let item: Option<Result<Value, Failure>> = items.next().await;
            match item {
                Some(Ok(payload)) => {
                    if answers.send(Frame::Item { id, payload }).await.is_err() {
                        return;
                    }
                }
                Some(Err(failure)) => break Frame::Failure { id, failure },
                None => break Frame::End { id },
            }
        },
        Err(failure) => Frame::Failure { id, failure },
    };
    let _ = answers.send(last).await;
}

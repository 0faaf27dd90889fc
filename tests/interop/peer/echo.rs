//! The echo service, as tonic has it: it does what the plan in a call says.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::journal::{Begun, Journal, remaining};
use crate::proto::echo_server::Echo;
use crate::proto::watch_server::Watch;
use crate::proto::{Call, Empty, Entries, Key, Loads, Reply};

/// How many calls are in flight in a stack.
pub(crate) type InFlight = Box<dyn Fn() -> u32 + Send + Sync>;

#[derive(Clone)]
pub(crate) struct EchoService {
    pub(crate) journal: Journal,
}

type Replies = Pin<Box<dyn Stream<Item = Result<Reply, Status>> + Send>>;

async fn pause(millis: u32) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis.into())).await;
    }
}

/// The failure that the plan asks for.
fn failure(plan: &Call, number: usize) -> Option<Status> {
    if plan.code == 0 || (plan.failures > 0 && number > plan.failures as usize) {
        return None;
    }
    let mut status = Status::with_details(
        Code::from_i32(plan.code as i32),
        &plan.message,
        plan.details.clone().into(),
    );
    let mut add = |name: &str, value: &str| {
        let name = tonic::metadata::MetadataKey::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, MetadataValue::try_from(value)) {
            status.metadata_mut().insert(name, value);
        }
    };
    for (name, value) in &plan.trailing {
        add(name, value);
    }
    if !plan.pushback.is_empty() {
        add("grpc-retry-pushback-ms", &plan.pushback);
    }
    Some(status)
}

fn texts(metadata: &MetadataMap) -> HashMap<String, String> {
    let texts = metadata.iter().filter_map(|pair| match pair {
        KeyAndValueRef::Ascii(name, value) => {
            Some((name.to_string(), value.to_str().ok()?.to_owned()))
        }
        KeyAndValueRef::Binary(..) => None,
    });
    texts.collect()
}

/// With the metadata `x-custom` and `x-custom-bin` of the request.
fn response<T>(body: T, metadata: &MetadataMap) -> Response<T> {
    let mut response = Response::new(body);
    if let Some(value) = metadata.get("x-custom") {
        let value = value.clone();
        response.metadata_mut().insert("x-custom", value);
    }
    if let Some(value) = metadata.get_bin("x-custom-bin") {
        let value = value.clone();
        response.metadata_mut().insert_bin("x-custom-bin", value);
    }
    response
}

fn begin(journal: &Journal, method: &str, plan: &Call, metadata: &MetadataMap) -> Begun {
    journal.begin(method, &plan.key, metadata.as_ref())
}

#[tonic::async_trait]
impl Echo for EchoService {
    async fn unary(&self, request: Request<Call>) -> Result<Response<Reply>, Status> {
        let (metadata, _, plan) = request.into_parts();
        let begun = begin(&self.journal, "unary", &plan, &metadata);
        let reply = Reply {
            messages: 1,
            bytes: plan.payload.len() as u64,
            remaining_ms: remaining(),
            metadata: texts(&metadata),
            payload: plan.payload.clone(),
        };
        pause(plan.sleep_ms).await;
        begun.end();
        match failure(&plan, begun.number) {
            Some(status) => Err(status),
            None => Ok(response(reply, &metadata)),
        }
    }

    type ServerStreamStream = Replies;

    async fn server_stream(&self, request: Request<Call>) -> Result<Response<Replies>, Status> {
        let (metadata, _, plan) = request.into_parts();
        let begun = begin(&self.journal, "server_stream", &plan, &metadata);
        pause(plan.sleep_ms).await;
        let failure = failure(&plan, begun.number);
        if plan.messages == 0
            && let Some(status) = failure
        {
            begun.end();
            return Err(status);
        }
        let state = (0, begun, failure, plan);
        let replies = stream::unfold(state, async |(sent, begun, mut failure, plan)| {
            if sent == plan.messages {
                begun.end();
                let status = failure.take()?;
                return Some((Err(status), (sent, begun, None, plan)));
            }
            pause(plan.pause_ms).await;
            let reply = Reply {
                payload: vec![b'x'; plan.size as usize],
                messages: sent + 1,
                ..Reply::default()
            };
            Some((Ok(reply), (sent + 1, begun, failure, plan)))
        });
        Ok(response(replies.boxed(), &metadata))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<Call>>,
    ) -> Result<Response<Reply>, Status> {
        let (metadata, _, mut calls) = request.into_parts();
        let mut reply = Reply {
            remaining_ms: remaining(),
            metadata: texts(&metadata),
            ..Reply::default()
        };
        let first = calls.message().await?;
        let plan = first.clone().unwrap_or_default();
        let begun = begin(&self.journal, "client_stream", &plan, &metadata);
        let mut next = first;
        while let Some(call) = next {
            reply.messages += 1;
            reply.bytes += call.payload.len() as u64;
            next = calls.message().await?;
        }
        pause(plan.sleep_ms).await;
        begun.end();
        match failure(&plan, begun.number) {
            Some(status) => Err(status),
            None => Ok(response(reply, &metadata)),
        }
    }

    type BidiStream = Replies;

    async fn bidi(&self, request: Request<Streaming<Call>>) -> Result<Response<Replies>, Status> {
        let (metadata, _, calls) = request.into_parts();
        let state = (calls, None, self.journal.clone(), metadata.clone());
        let replies = stream::unfold(state, async |(mut calls, plan, journal, metadata)| {
            let call = match calls.message().await {
                Ok(call) => call,
                Err(status) => return Some((Err(status), (calls, plan, journal, metadata))),
            };
            let Some(call) = call else {
                let (plan, begun): (Call, Begun) = plan?;
                begun.end();
                let status = failure(&plan, begun.number)?;
                return Some((Err(status), (calls, None, journal, metadata)));
            };
            let plan = plan.unwrap_or_else(|| {
                let begun = begin(&journal, "bidi", &call, &metadata);
                (call.clone(), begun)
            });
            pause(plan.0.pause_ms).await;
            let reply = Reply {
                bytes: call.payload.len() as u64,
                payload: call.payload,
                messages: 1,
                ..Reply::default()
            };
            Some((Ok(reply), (calls, Some(plan), journal, metadata)))
        });
        Ok(response(replies.boxed(), &metadata))
    }
}

/// What the other side may ask, behind no layer.
pub(crate) struct WatchService {
    pub(crate) journal: Journal,
    pub(crate) stacks: HashMap<String, InFlight>,
}

#[tonic::async_trait]
impl Watch for WatchService {
    async fn journal(&self, request: Request<Key>) -> Result<Response<Entries>, Status> {
        let entries = self.journal.of(&request.into_inner().key);
        Ok(Response::new(Entries { entries }))
    }

    async fn in_flight(&self, _: Request<Empty>) -> Result<Response<Loads>, Status> {
        let load = |(name, in_flight): (&String, &InFlight)| (name.clone(), in_flight());
        let calls = self.stacks.iter().map(load).collect();
        Ok(Response::new(Loads { calls }))
    }
}

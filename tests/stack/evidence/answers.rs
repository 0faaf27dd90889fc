//! What an upstream answers because a deadline ran out, and the stacks' own limits.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use mainstay::circuit_breaker::Snapshot;
use mainstay::{Context, State, grpc, http as resilient};
use tokio::time::{sleep, timeout};
use tower::{ServiceExt as _, service_fn};

use crate::support::{ms, secs};

type Req = Request<Full<Bytes>>;

#[derive(Debug, Clone, Copy)]
enum Answer {
    Http(u16),
    /// A code in the head.
    Grpc(&'static str),
    /// A head, and then the code in the trailers.
    Trailers(&'static str),
    Never,
    /// A head, and then nothing.
    HeadOnly,
    /// A head and a message, and then nothing.
    Message,
    /// A head and a message, and long after that the code in the trailers.
    MessageThen(&'static str),
}

async fn answer(answer: Answer) -> std::io::Result<Response<Body>> {
    let grpc = || Response::builder().header("content-type", "application/grpc");
    let stream = |frames: Vec<http_body::Frame<Bytes>>, ends: bool| {
        let frames = futures::stream::iter(frames).map(Ok::<_, std::convert::Infallible>);
        let body = if ends {
            Body::new(StreamBody::new(frames))
        } else {
            Body::new(StreamBody::new(frames.chain(futures::stream::pending())))
        };
        grpc().body(body).unwrap()
    };
    let message = || http_body::Frame::data(Bytes::from("message"));
    Ok(match answer {
        Answer::Http(status) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status.try_into().unwrap();
            response
        }
        Answer::Grpc(code) => grpc()
            .header("grpc-status", code)
            .body(Body::empty())
            .unwrap(),
        Answer::Trailers(code) => {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            stream(vec![http_body::Frame::trailers(trailers)], true)
        }
        Answer::Never => std::future::pending().await,
        Answer::HeadOnly => stream(Vec::new(), false),
        Answer::Message => stream(vec![message()], false),
        Answer::MessageThen(code) => {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            let last = futures::stream::once(async move {
                sleep(secs(20)).await;
                http_body::Frame::trailers(trailers)
            });
            let frames = futures::stream::iter([message()]).chain(last);
            let frames = frames.map(Ok::<_, std::convert::Infallible>);
            grpc()
                .body(Body::new(StreamBody::new(Box::pin(frames))))
                .unwrap()
        }
    })
}

/// An upstream that answers so after so long.
macro_rules! upstream {
    ($after:expr, $answer:expr) => {
        service_fn(move |_: Req| async move {
            sleep($after).await;
            answer($answer).await
        })
    };
}

fn request(of_grpc: bool) -> Req {
    let mut request = Request::builder();
    if of_grpc {
        request = request.header("content-type", "application/grpc");
    }
    request.body(Full::default()).unwrap()
}

/// Thirty calls at once by callers with this deadline (none where it is zero), through a stack and read to the end.
macro_rules! thirty {
    ($stack:expr, $of_grpc:expr, $after:expr, $answer:expr, $deadline:expr) => {{
        let stack = $stack.build().unwrap();
        let client = stack.wrap(upstream!($after, $answer));
        let deadline: Duration = $deadline;
        let calls = (0..30).map(|_| {
            let call = client.clone().oneshot(request($of_grpc));
            let call = async move {
                if let Ok(response) = call.await {
                    let _ = timeout(secs(3_600), response.into_body().collect()).await;
                }
            };
            let context = match deadline.is_zero() {
                true => Context::current(),
                false => Context::current().with_timeout(deadline),
            };
            context.scope(call)
        });
        futures::future::join_all(calls).await;
        stack.circuit_breaker().snapshot()
    }};
}

fn of_http(after: Duration, answer: Answer, deadline: Duration) -> impl Future<Output = Snapshot> {
    let stack = resilient::client("catalog").without_retry();
    async move { thirty!(stack, false, after, answer, deadline) }
}

fn of_grpc(after: Duration, answer: Answer, deadline: Duration) -> impl Future<Output = Snapshot> {
    let stack = grpc::client("users").without_retry();
    async move { thirty!(stack, true, after, answer, deadline) }
}

#[track_caller]
fn assert_ignored(circuit: &Snapshot, case: impl std::fmt::Debug) {
    assert_eq!(
        (circuit.state, circuit.calls),
        (State::Closed, 0),
        "{case:?}: {circuit}"
    );
    assert_eq!(circuit.outcomes.cancelled, 30, "{case:?}: {circuit}");
}

const DEADLINE: [Answer; 2] = [Answer::Grpc("4"), Answer::Trailers("4")];

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_deadline_that_ran_out_is_none() {
    // A little before the end, as the network takes its time; with tiny deadlines at any time.
    for (after, deadline) in [(498, 500), (470, 500), (896, 900), (1, 3), (7, 30)] {
        let (after, deadline) = (ms(after), ms(deadline));
        for status in [504, 408, 499] {
            let circuit = of_http(after, Answer::Http(status), deadline).await;
            assert_ignored(&circuit, (status, deadline));
            let circuit = of_grpc(after, Answer::Http(status), deadline).await;
            assert_ignored(&circuit, (status, deadline));
        }
        for answer in DEADLINE
            .into_iter()
            .chain([Answer::Grpc("1"), Answer::Trailers("1")])
        {
            let circuit = of_grpc(after, answer, deadline).await;
            assert_ignored(&circuit, (answer, deadline));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_answer_long_before_the_end_is_a_failure_as_ever() {
    for deadline in [Duration::ZERO, ms(500), secs(2)] {
        let circuit = of_http(ms(50), Answer::Http(504), deadline).await;
        assert_eq!(circuit.state, State::Open, "{deadline:?}: {circuit}");
        for answer in DEADLINE {
            let circuit = of_grpc(ms(50), answer, deadline).await;
            assert_eq!(circuit.state, State::Open, "{answer:?}: {circuit}");
        }
        // The client's mistake, as ever.
        let circuit = of_http(ms(50), Answer::Http(408), deadline).await;
        assert_eq!(circuit.outcomes.success, 30);
    }
    // Other failures are none of the deadline.
    let circuit = of_http(ms(499), Answer::Http(503), ms(500)).await;
    assert_eq!(circuit.state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn such_an_answer_after_long_is_evidence() {
    let circuit = of_http(ms(1_990), Answer::Http(504), secs(2)).await;
    assert_eq!(circuit.state, State::Open);
    for answer in DEADLINE {
        let circuit = of_grpc(ms(1_990), answer, secs(2)).await;
        assert_eq!(circuit.state, State::Open, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stacks_own_limits_find_an_upstream_that_hangs() {
    let half = ms(500);
    let never = Answer::Never;
    for retries in [false, true] {
        let http = || {
            let stack = resilient::client("catalog");
            if retries {
                stack
            } else {
                stack.without_retry()
            }
        };
        let zero = Duration::ZERO;
        for (case, circuit) in [
            ("default", thirty!(http(), false, zero, never, zero)),
            (
                "timeout",
                thirty!(http().timeout(half), false, zero, never, zero),
            ),
            (
                "attempt",
                thirty!(http().attempt_timeout(half), false, zero, never, zero),
            ),
            (
                "told",
                thirty!(
                    http().timeout(half),
                    false,
                    ms(498),
                    Answer::Http(504),
                    zero
                ),
            ),
            // The attempt's limit, although the callers end it.
            (
                "attempt, callers",
                thirty!(http().attempt_timeout(half), false, zero, never, ms(501)),
            ),
        ] {
            assert!(circuit.opened > 0, "{case}: {circuit}");
        }
        let circuit = thirty!(http().attempt_timeout(half), false, zero, never, ms(400));
        assert_ignored(&circuit, "attempt, callers in a hurry");
        // Somebody said how long an attempt may take, and these took less.
        let stack = http().attempt_timeout(secs(5));
        let circuit = thirty!(stack, false, zero, never, secs(2));
        assert_ignored(&circuit, "a long attempt, callers in a hurry");
        let grpc = || {
            let stack = grpc::client("users");
            if retries {
                stack
            } else {
                stack.without_retry()
            }
        };
        for (case, circuit) in [
            ("default", thirty!(grpc(), true, zero, never, zero)),
            (
                "timeout",
                thirty!(grpc().timeout(half), true, zero, never, zero),
            ),
            (
                "told",
                thirty!(grpc().timeout(half), true, ms(490), Answer::Grpc("4"), zero),
            ),
            (
                "head",
                thirty!(grpc().timeout(half), true, zero, Answer::HeadOnly, zero),
            ),
        ] {
            assert!(circuit.opened > 0, "{case}: {circuit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_read_and_ended_by_a_limit_says_nothing() {
    let stack = || grpc::client("users").without_retry();
    let message = Answer::Message;
    let own = thirty!(
        stack().timeout(secs(5)),
        true,
        ms(10),
        message,
        Duration::ZERO
    );
    assert_ignored(&own, "own limit");
    let callers = thirty!(stack(), true, ms(10), message, secs(5));
    assert_ignored(&callers, "callers' deadline");
    let callers = thirty!(stack(), true, ms(10), Answer::HeadOnly, ms(200));
    assert_ignored(&callers, "callers' deadline, no message");
    // A head that took its time is an answer all the same.
    let callers = thirty!(stack(), true, secs(3), message, secs(5));
    assert_ignored(&callers, "callers' deadline, slow head");
    let cancelled = Answer::MessageThen("1");
    let server = thirty!(stack(), true, secs(3), cancelled, Duration::ZERO);
    assert_ignored(&server, "cancelled, slow head");
}

//! The stack of a client with nothing set, around reqwest and hyper-util, on real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use axum::Router;
use axum::extract::State;
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::reqwest::SendThrough as _;
use mainstay::{Error, Reason, State as Circuit, http, reqwest as resilient};
use tower::ServiceExt as _;

use crate::common::{listener, serve, within};

/// What the server was asked for.
type Asked = Arc<Mutex<Vec<(Method, HeaderMap, Bytes)>>>;

/// Answers with the status that the path says.
async fn answer(
    State(asked): State<Asked>,
    request: ::http::request::Parts,
    body: Bytes,
) -> StatusCode {
    let status = request.uri.path().trim_start_matches('/').parse().unwrap();
    asked
        .lock()
        .unwrap()
        .push((request.method, request.headers, body));
    status
}

async fn server() -> (String, Asked) {
    let asked = Asked::default();
    let router = Router::new()
        .route("/{status}", any(answer))
        .with_state(Arc::clone(&asked));
    (format!("http://{}", serve(router).await), asked)
}

fn count(asked: &Asked) -> usize {
    asked.lock().unwrap().drain(..).count()
}

#[derive(Clone)]
struct Upstreams {
    payments: resilient::Client,
    orders: http::Client<Hyper<HttpConnector, Full<Bytes>>>,
}

fn upstreams() -> Upstreams {
    let hyper = Hyper::builder(TokioExecutor::new()).build_http();
    Upstreams {
        payments: resilient::client("payments")
            .build()
            .unwrap()
            .wrap(reqwest::Client::new()),
        orders: http::client("orders").build().unwrap().wrap(hyper),
    }
}

#[tokio::test]
async fn with_nothing_set_reqwests_client_works_and_repeats_what_may_be_repeated() {
    let (url, asked) = server().await;
    let payments = upstreams().payments;
    let client = reqwest::Client::new();
    for (method, status, attempts) in [
        (Method::GET, 200, 1),
        (Method::POST, 200, 1),
        (Method::GET, 503, 3),
        (Method::PUT, 503, 3),
        (Method::POST, 503, 1),
        (Method::GET, 500, 1),
        (Method::GET, 404, 1),
    ] {
        let request = client
            .request(method.clone(), format!("{url}/{status}"))
            .body("order");
        let response = within("an answer", request.send_through(&payments))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        {
            let asked = asked.lock().unwrap();
            assert!(asked.iter().all(|(_, _, body)| body == "order"));
            let headers = |name: &str| -> Vec<_> {
                asked
                    .iter()
                    .map(|(_, headers, _)| headers[name].to_str().unwrap().to_owned())
                    .collect()
            };
            let ids = headers("x-correlation-id");
            assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()));
            // A default that nobody set is propagated to nobody.
            let told =
                |headers: &reqwest::header::HeaderMap| headers.contains_key("x-request-timeout-ms");
            assert!(!asked.iter().any(|(_, headers, _)| told(headers)));
        }
        assert_eq!(count(&asked), attempts, "{method} {status}");
    }
    let keyed = client
        .post(format!("{url}/503"))
        .header("idempotency-key", "k")
        .body("order");
    assert_eq!(keyed.send_through(&payments).await.unwrap().status(), 503);
    assert_eq!(count(&asked), 3);
}

#[tokio::test]
async fn with_nothing_set_hypers_client_works_and_repeats_what_may_be_repeated() {
    let (url, asked) = server().await;
    let orders = upstreams().orders;
    for (method, status, attempts) in [
        (Method::GET, 200, 1),
        (Method::GET, 503, 3),
        (Method::POST, 503, 1),
    ] {
        let request = ::http::Request::builder()
            .method(method.clone())
            .uri(format!("{url}/{status}"));
        let request = request.body(Full::from("order")).unwrap();
        let response = within("an answer", orders.clone().oneshot(request))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        assert!(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
        assert_eq!(count(&asked), attempts, "{method} {status}");
    }
}

#[tokio::test]
async fn no_connection_is_an_error_of_the_clients_own_and_opens_the_circuit() {
    let (listener, address) = listener().await;
    drop(listener);
    let stack = resilient::client("payments")
        .timeout(Duration::from_secs(2))
        .circuit_breaker(http::circuit_breaker().consecutive_failures(3))
        .build()
        .unwrap();
    let client = reqwest::Client::new();
    let payments = stack.wrap(client.clone());
    let error = within(
        "an error",
        client
            .get(format!("http://{address}"))
            .send_through(&payments),
    )
    .await
    .unwrap_err();
    let Error::Inner(error) = error else {
        panic!("{error}");
    };
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(stack.circuit_breaker().state(), Circuit::Open);
    let error = client
        .get(format!("http://{address}"))
        .send_through(&payments)
        .await
        .unwrap_err();
    let Error::Rejected(rejection) = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (rejection.layer(), rejection.name(), rejection.reason()),
        ("circuit_breaker", "payments", Reason::CircuitOpen)
    );
    assert!(rejection.retry_after().is_some());
    assert!(error.to_string().contains("payments"), "{error}");
    // What the caller did wrong says nothing of the other side.
    stack.circuit_breaker().reset();
    for _ in 0..5 {
        let error = client
            .get("http://[")
            .send_through(&payments)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Inner(error) if error.is_builder()));
    }
    assert_eq!(stack.circuit_breaker().state(), Circuit::Closed);
}

#[tokio::test]
async fn what_is_done_for_a_request_carries_its_id_and_its_deadline_on() {
    let (url, asked) = server().await;
    let upstreams = upstreams();
    let handler = {
        let url = url.clone();
        move || async move {
            let request = reqwest::Client::new().get(format!("{url}/200"));
            request
                .send_through(&upstreams.payments)
                .await
                .unwrap()
                .status()
        }
    };
    let app = Router::new()
        .route("/", axum::routing::get(handler))
        .layer(http::server("front").build().unwrap());
    let address = serve(app).await;
    let request = reqwest::Client::new().get(format!("http://{address}/"));
    let request = request
        .header("x-correlation-id", "order-4711")
        .header("x-request-timeout-ms", "900");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-correlation-id"], "order-4711");
    let (_, headers, _) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(headers["x-correlation-id"], "order-4711");
    let left: u64 = headers["x-request-timeout-ms"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=900).contains(&left), "{left}");
}

#[tokio::test]
async fn clients_live_in_structs_and_move_between_tasks() {
    let (url, asked) = server().await;
    let upstreams = upstreams();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (upstreams, url) = (upstreams.clone(), url.clone());
            tokio::spawn(async move {
                let request = reqwest::Client::new().get(format!("{url}/200"));
                request
                    .send_through(&upstreams.payments)
                    .await
                    .unwrap()
                    .status()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(within("a task", task).await.unwrap(), 200);
    }
    assert_eq!(count(&asked), 10);
}

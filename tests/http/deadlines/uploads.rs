//! Requests whose bodies take long: a default limit lets them, as long as they move; a limit that somebody set does not.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use mainstay::{Context, http as resilient};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::support::{ms, secs};

/// One byte every so often, and then nothing more, or the end.
fn pieces(count: usize, every: Duration, ends: bool) -> axum::body::Body {
    let pieces = futures::stream::unfold(0, move |sent| async move {
        sleep(every).await;
        if sent == count && !ends {
            std::future::pending::<()>().await;
        }
        (sent < count).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"x")), sent + 1))
    });
    axum::body::Body::from_stream(pieces)
}

/// Reads the body to its end, works for so long, and answers with how many bytes there were.
async fn store(
    request: Request<axum::body::Body>,
    works: Duration,
) -> Result<Response<axum::body::Body>, Infallible> {
    let read = request.into_body().collect().await.unwrap().to_bytes();
    sleep(works).await;
    // The rest of the work is within its time.
    let inner = resilient::client("inner").build().unwrap();
    let inner = inner.layer(service_fn(|_: Request<axum::body::Body>| async {
        sleep(secs(1)).await;
        Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))
    }));
    inner
        .oneshot(Request::default())
        .await
        .expect("some time left");
    Ok(Response::new(read.len().to_string().into()))
}

/// What became of it, and when.
async fn upload<S, R, E>(service: S, body: axum::body::Body) -> (Result<u16, E>, Duration)
where
    S: Service<Request<axum::body::Body>, Response = Response<R>, Error = E>,
{
    let began = Instant::now();
    let answer = service
        .oneshot(Request::post("/").body(body).unwrap())
        .await;
    let status = answer.map(|response| response.status().as_u16());
    (status, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_moves_is_not_ended_by_a_default() {
    let stack = resilient::server("store").build().unwrap();
    let service = stack.layer(service_fn(|request| store(request, secs(20))));
    let (status, took) = upload(service.clone(), pieces(40, secs(1), true)).await;
    assert_eq!((status.unwrap(), took), (200, secs(41 + 20 + 1)));
    // Each piece has the whole time, as between two reads of nginx's.
    let (status, took) = upload(service, pieces(4, secs(29), true)).await;
    assert_eq!((status.unwrap(), took), (200, secs(5 * 29 + 20 + 1)));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_is_ended_by_a_default() {
    let stack = resilient::server("store").build().unwrap();
    let service = stack.layer(service_fn(|request| store(request, secs(20))));
    for (count, ended) in [(0, secs(30)), (3, secs(33)), (40, secs(70))] {
        let (status, took) = upload(service.clone(), pieces(count, secs(1), false)).await;
        assert_eq!((status.unwrap(), took), (504, ended));
        assert_eq!(stack.bulkhead().in_flight(), 0);
    }
    // A handler that hangs after the upload has the same time from then on.
    let service = stack.layer(service_fn(|request| store(request, secs(3_600))));
    let (status, took) = upload(service, pieces(40, secs(1), true)).await;
    assert_eq!((status.unwrap(), took), (504, secs(41 + 30)));
    // And one that does not read.
    let service = stack.layer(service_fn(|_: Request<axum::body::Body>| {
        std::future::pending::<Result<Response<axum::body::Body>, Infallible>>()
    }));
    let (status, took) = upload(service, pieces(40, secs(1), true)).await;
    assert_eq!((status.unwrap(), took), (504, secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_somebody_set_is_strict() {
    let stack = resilient::server("store")
        .timeout(secs(30))
        .build()
        .unwrap();
    let service = stack.layer(service_fn(|request| store(request, ms(1))));
    let (status, took) = upload(service, pieces(40, secs(1), true)).await;
    assert_eq!((status.unwrap(), took), (504, secs(30)));
    // So is the caller's.
    let stack = resilient::server("store").build().unwrap();
    let service = stack.layer(service_fn(|request| store(request, ms(1))));
    let context = Context::current().with_timeout(secs(35));
    let call = upload(service, pieces(40, secs(1), true));
    let (status, took) = context.scope(call).await;
    assert_eq!((status.unwrap(), took), (504, secs(35)));
}

#[tokio::test(start_paused = true)]
async fn a_clients_upload_that_moves_is_not_ended_by_a_default() {
    let stack = resilient::client("store").build().unwrap();
    let service = stack.layer(service_fn(|request| store(request, secs(20))));
    let (status, took) = upload(service.clone(), pieces(40, secs(1), true)).await;
    assert_eq!((status.unwrap(), took), (200, secs(41 + 20 + 1)));
    let (status, took) = upload(service, pieces(3, secs(1), false)).await;
    assert!(status.is_err());
    assert_eq!(took, secs(33));
    let stack = resilient::client("store")
        .timeout(secs(10))
        .build()
        .unwrap();
    let service = stack.layer(service_fn(|request| store(request, secs(20))));
    let (status, took) = upload(service, pieces(40, secs(1), true)).await;
    assert!(status.is_err());
    assert_eq!(took, secs(10));
}

/// It was called with 1 second left, and a piece of the body has come since.
#[tokio::test(start_paused = true)]
async fn a_piece_gives_what_follows_all_of_the_time() {
    let stack = resilient::server("store").build().unwrap();
    let service = stack.layer(service_fn(|request: Request<axum::body::Body>| async {
        request.into_body().frame().await.unwrap().unwrap();
        let inner = resilient::client("inner").build().unwrap();
        let inner = inner.layer(service_fn(|_: Request<axum::body::Body>| async {
            sleep(secs(20)).await;
            Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))
        }));
        let answer = inner.oneshot(Request::default()).await;
        answer.expect("the time has begun anew");
        Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))
    }));
    let (status, took) = upload(service, pieces(2, secs(29), true)).await;
    assert_eq!((status.unwrap(), took), (200, secs(29 + 20)));
}

/// A message of gRPC, or a body that was in memory before it was put into a box.
#[tokio::test(start_paused = true)]
async fn a_large_piece_has_the_time_that_a_slow_line_takes() {
    let stack = resilient::client("store").build().unwrap();
    // A line of 1 Mbit/s: it takes a piece, and the next one when that is sent.
    let service = stack.layer(service_fn(|request: Request<axum::body::Body>| async {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap().len();
            sleep(secs(bytes as u64 / 125_000)).await;
        }
        Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))
    }));
    let piece = || Bytes::from(vec![0; 8_000_000]);
    let two = futures::stream::iter([piece(), piece()]).map(Ok::<_, Infallible>);
    for (body, takes) in [
        (axum::body::Body::from(piece()), secs(64)),
        (axum::body::Body::from_stream(two), secs(128)),
    ] {
        let (status, took) = upload(service.clone(), body).await;
        assert_eq!((status.unwrap(), took), (200, takes));
    }
    // What hangs afterwards is still ended.
    let service = stack.layer(service_fn(|request: Request<axum::body::Body>| async {
        request.into_body().collect().await.unwrap();
        std::future::pending::<Result<Response<axum::body::Body>, Infallible>>().await
    }));
    let (status, took) = upload(service, axum::body::Body::from(piece())).await;
    assert!(status.is_err());
    assert_eq!(took, secs(64 + 30));
}

#[tokio::test(start_paused = true)]
async fn the_bodies_that_are_in_use_are_watched() {
    use http_body_util::StreamBody;
    use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
    use mainstay::BoxError;

    fn stream<E: Send + Sync + 'static>()
    -> impl http_body::Body<Data = Bytes, Error = E> + Send + Sync + 'static {
        let pieces = futures::stream::iter(0..40).then(|_| async {
            sleep(secs(1)).await;
            Ok::<_, E>(http_body::Frame::data(Bytes::from_static(b"x")))
        });
        StreamBody::new(SyncStream(std::sync::Mutex::new(Box::pin(pieces))))
    }

    /// `Sync`, because it is polled by whoever has it alone.
    struct SyncStream<S>(std::sync::Mutex<std::pin::Pin<Box<S>>>);

    impl<S: futures::Stream> futures::Stream for SyncStream<S> {
        type Item = S::Item;

        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<S::Item>> {
            self.get_mut().0.get_mut().unwrap().as_mut().poll_next(cx)
        }
    }

    async fn length_of<B: http_body::Body<Data = Bytes>>(
        request: Request<B>,
    ) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
        let read = request.into_body().collect().await;
        let read = read.map_err(drop).unwrap().to_bytes();
        Ok(Response::new(http_body_util::Full::new(read)))
    }

    macro_rules! survives {
        ($($body:expr),* $(,)?) => {$({
            let layer = resilient::timeout().build().unwrap();
            let mut service = layer.layer(service_fn(|request| length_of(request)));
            let response = service.call(Request::new($body)).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 40);
        })*};
    }

    survives!(
        axum::body::Body::new(stream::<BoxError>()),
        tonic::body::Body::new(stream::<tonic::Status>()),
        UnsyncBoxBody::new(stream::<BoxError>()),
        UnsyncBoxBody::new(stream::<std::io::Error>()),
        UnsyncBoxBody::new(stream::<Infallible>()),
        UnsyncBoxBody::new(stream::<hyper::Error>()),
        BoxBody::new(stream::<BoxError>()),
        BoxBody::new(stream::<Infallible>()),
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_body_in_memory_has_the_time_that_a_slow_line_takes() {
    let stack = resilient::client("store").build().unwrap();
    let service = stack.layer(service_fn(
        |_: Request<http_body_util::Full<Bytes>>| async {
            std::future::pending::<Result<Response<axum::body::Body>, Infallible>>().await
        },
    ));
    for (size, limit) in [(0, secs(30)), (64 * 1024, secs(30)), (8_000_000, secs(94))] {
        let body = http_body_util::Full::new(Bytes::from(vec![0; size]));
        let began = Instant::now();
        let call = service
            .clone()
            .oneshot(Request::post("/").body(body).unwrap());
        assert!(call.await.is_err());
        assert_eq!(began.elapsed(), limit, "{size}");
    }
}

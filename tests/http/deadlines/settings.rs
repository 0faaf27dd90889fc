//! Settings of a time limit for HTTP and gRPC that change while calls run.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use mainstay::http::{TimeoutSettings, timeout};
use mainstay::{Context, Mode, Reason, Rejection};
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::script::{HttpTimeout, Script, Step, body, next, typed};
use crate::support::{ms, secs};

/// When a call of this gRPC method is over, which takes a minute.
async fn minute(layer: &HttpTimeout, path: &'static str) -> (bool, Duration) {
    let service = layer.layer(service_fn(|_: Request<()>| async {
        tokio::time::sleep(secs(60)).await;
        Ok::<_, Infallible>(Response::new(Script::new([]).0))
    }));
    let request = Request::post(format!("http://a{path}"))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let begun = Instant::now();
    let ended = service.oneshot(request).await.is_err();
    (ended, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn limits_of_single_methods_can_change() {
    let layer = timeout().timeout(secs(10)).build().unwrap();
    let handle = layer.handle();
    assert_eq!(minute(&layer, "/shop.Orders/Get").await, (true, secs(10)));
    let changes = handle
        .change(|settings| {
            let limits = &mut settings.timeout_for;
            limits.insert("shop.Orders".to_owned(), Some(secs(2)));
            limits.insert("shop.Orders/Watch".to_owned(), None);
        })
        .unwrap();
    assert_eq!(
        changes.to_string(),
        "timeout_for.\"shop.Orders\": unset -> 2s, timeout_for.\"shop.Orders/Watch\": unset -> off"
    );
    assert_eq!(minute(&layer, "/shop.Orders/Get").await, (true, secs(2)));
    assert_eq!(
        minute(&layer, "/shop.Orders/Watch").await,
        (false, secs(60))
    );
    assert_eq!(minute(&layer, "/shop.Users/Get").await, (true, secs(10)));
    let _ = handle
        .change(|settings| settings.mode = Mode::Shadow)
        .unwrap();
    assert_eq!(minute(&layer, "/shop.Orders/Get").await, (false, secs(60)));
    assert_eq!(
        minute(&layer, "/shop.Orders/Watch").await,
        (false, secs(60))
    );
    assert_eq!(handle.snapshot().would_reject.of(Reason::TimedOut), 1);
    let error = handle
        .change(|settings| {
            settings.timeout_for.insert("shop Orders".to_owned(), None);
        })
        .unwrap_err();
    assert_eq!(
        (error.field(), error.value()),
        ("timeout_for", "shop Orders")
    );
}

#[tokio::test(start_paused = true)]
async fn the_idle_limit_of_new_bodies_can_change() {
    const STALLS: [Step; 2] = [Step::Data("a"), Step::Hang];
    let layer = timeout().body_idle(secs(10)).build().unwrap();
    let handle = layer.handle();
    let begun = Instant::now();
    let (mut before, _) = body(&layer, STALLS).await;
    let _ = handle
        .change(|settings| settings.body_idle = Some(secs(5)))
        .unwrap();
    let (mut after, _) = body(&layer, STALLS).await;
    for body in [&mut before, &mut after] {
        assert_eq!(next(body).await.unwrap().unwrap(), "a");
    }
    for (body, ended) in [(&mut after, secs(5)), (&mut before, secs(10))] {
        let error = next(body).await.unwrap().unwrap_err();
        assert_eq!(Rejection::find(&*error).unwrap().reason(), Reason::TimedOut);
        assert_eq!(begun.elapsed(), ended);
    }
    for (idle, mode) in [
        (None, Mode::Enforce),
        (Some(secs(5)), Mode::Shadow),
        (Some(secs(5)), Mode::Off),
    ] {
        let _ = handle
            .change(|settings| (settings.body_idle, settings.mode) = (idle, mode))
            .unwrap();
        let steps = [Step::Data("a"), Step::Wait(secs(100)), Step::Data("b")];
        let (mut body, _) = body(&layer, steps).await;
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "b", "{mode}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_can_begin_to_cover_the_body() {
    let steps = || [Step::Data("a"), Step::Wait(secs(4)), Step::Data("b")];
    let layer = timeout().timeout(secs(2)).build().unwrap();
    let (mut head_only, _) = body(&layer, steps()).await;
    let _ = layer
        .handle()
        .change(|settings| settings.whole_body = true)
        .unwrap();
    let (mut whole, _) = body(&layer, steps()).await;
    for body in [&mut head_only, &mut whole] {
        assert_eq!(next(body).await.unwrap().unwrap(), "a");
    }
    assert!(next(&mut whole).await.unwrap().is_err());
    assert_eq!(next(&mut head_only).await.unwrap().unwrap(), "b");
    // In gRPC it always covers the body, but not in shadow mode.
    let _ = layer
        .handle()
        .change(|settings| settings.mode = Mode::Shadow)
        .unwrap();
    let (mut grpc, _) = typed(&layer, "application/grpc", steps()).await;
    assert_eq!(next(&mut grpc).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut grpc).await.unwrap().unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_the_callers_limit_ends_nothing_and_is_passed_on() {
    let layer = timeout().mode(Mode::Shadow).build().unwrap();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let left = Context::current().remaining();
        tokio::time::sleep(secs(1)).await;
        assert_eq!(left, Some(ms(200)));
        Ok::<_, Infallible>(Response::new(Script::new([]).0))
    }));
    let request = Request::builder().header("x-request-timeout-ms", "200");
    assert!(service.oneshot(request.body(()).unwrap()).await.is_ok());
    let snapshot = layer.handle().snapshot();
    assert_eq!(snapshot.would_reject.of(Reason::TimedOut), 1);
    assert_eq!(snapshot.rejections.total(), 0);
}

#[test]
fn a_configuration_names_methods_and_says_where_it_is_wrong() {
    let read = |json: &str| serde_json::from_str::<TimeoutSettings>(json);
    let settings =
        read(r#"{ "timeout_for": { "shop.Orders": "2s", "shop.Orders/Watch": "off" } }"#);
    let settings = settings.unwrap();
    assert_eq!(settings.timeout_for["shop.Orders"], Some(secs(2)));
    assert_eq!(settings.timeout_for["shop.Orders/Watch"], None);
    let written = serde_json::to_string(&settings).unwrap();
    assert_eq!(
        written,
        r#"{"mode":"enforce","timeout":"auto","timeout_for":{"shop.Orders":"2s","shop.Orders/Watch":"off"},"whole_body":false,"body_idle":"120s"}"#
    );
    assert_eq!(read(&written).unwrap(), settings);
    assert_eq!(read(r#""2s""#).unwrap().timeout, secs(2).into());
    for (json, expected) in [
        (
            r#"{ "timeout_for": { "shop.Orders": 2 } }"#,
            "timeout_for.\"shop.Orders\": invalid type: integer `2`, expected a duration with its unit",
        ),
        (
            r#"{ "timeout_for": { "shop..Orders": "2s" } }"#,
            "timeout_for: shop..Orders is refused: must be the name of a service",
        ),
        (
            r#"{ "timeout_for": { "a": "2s", "a": "3s" } }"#,
            "timeout_for.\"a\": is there twice",
        ),
        (
            r#"{ "timeout": "0s" }"#,
            "timeout: 0ns is refused: must be more than 0 and at most 24 hours",
        ),
    ] {
        let error = read(json).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

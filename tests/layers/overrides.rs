//! Settings of single calls, by a scope.

use std::time::Duration;

use futures::future::join_all;
use mainstay::{BulkheadLayer, CircuitBreakerLayer, Error, Overrides, Reason, RetryLayer, State};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{secs, settle};

/// Takes as long as the request says.
async fn work(time: Duration) -> Result<Duration, std::io::Error> {
    tokio::time::sleep(time).await;
    Ok(time)
}

fn key(key: &str) -> Overrides {
    Overrides::new().key("jobs", key)
}

// --- The key

#[tokio::test(start_paused = true)]
async fn the_key_of_a_call_replaces_that_of_the_function() {
    let layer = BulkheadLayer::builder()
        .name("jobs")
        .limit(1)
        .keyed(|_: &Duration| "by function".into())
        .build()
        .unwrap();
    let service = layer.layer(service_fn(work));
    let call = |time| service.clone().oneshot(time);
    let of_seven = key("tenant-7");
    let hung = tokio::spawn(of_seven.scope(call(secs(60))));
    settle().await;
    // The same key is full, another one and that of the function are not.
    let Err(Error::Rejected(rejection)) = of_seven.scope(call(secs(0))).await else {
        panic!("admitted")
    };
    assert_eq!(rejection.reason(), Reason::Full);
    assert_eq!(rejection.key(), Some("tenant-7"));
    assert!(key("tenant-8").scope(call(secs(0))).await.is_ok());
    assert!(call(secs(0)).await.is_ok());
    let mut keys = layer.handle().keys();
    keys.sort();
    assert_eq!(keys, ["by function", "tenant-7", "tenant-8"]);
    // The innermost scope decides, and only while it lasts.
    let nested = of_seven.scope(async {
        assert!(key("tenant-8").scope(call(secs(0))).await.is_ok());
        assert!(key("").scope(call(secs(0))).await.is_ok(), "no key");
        let other = Overrides::new().no_retry();
        assert!(
            other.scope(call(secs(0))).await.is_err(),
            "the outer key stays"
        );
        // A task of its own is not in the scope.
        assert!(tokio::spawn(call(secs(0))).await.unwrap().is_ok());
        call(secs(0)).await
    });
    assert!(nested.await.is_err());
    assert_eq!(layer.handle().keys().len(), 3, "an empty key is none");
    hung.await.unwrap().unwrap();
}

/// What a handler calls has keys of its own.
#[tokio::test(start_paused = true)]
async fn the_key_is_that_of_one_layer() {
    let layer = |name: &str| {
        let layer = BulkheadLayer::builder().name(name).limit(1);
        layer.keyed(|_: &Duration| "by function".into()).build()
    };
    let (jobs, hosts) = (layer("jobs").unwrap(), layer("hosts").unwrap());
    let (of_jobs, of_hosts) = (jobs.handle(), hosts.handle());
    let service = ServiceBuilder::new().layer(jobs).layer(hosts);
    let service = service.service(service_fn(work));
    let call = || service.clone().oneshot(secs(0));
    key("tenant-7").scope(call()).await.unwrap();
    assert_eq!(of_jobs.keys(), ["tenant-7"]);
    assert_eq!(of_hosts.keys(), ["by function"]);
    // A scope for another name adds to it.
    let of_host = Overrides::new().key("hosts", "a");
    let both = key("tenant-8").scope(of_host.scope(call()));
    both.await.unwrap();
    assert!(of_jobs.key("tenant-8").is_some() && of_hosts.key("a").is_some());
    call().await.unwrap();
    assert!(of_jobs.key("by function").is_some(), "after the scope");
}

#[tokio::test(start_paused = true)]
async fn the_key_applies_to_a_service_that_has_called_with_another_one() {
    let layer = CircuitBreakerLayer::builder()
        .name("jobs")
        .without_failure_rate()
        .consecutive_failures(1)
        .keyed(|_: &bool| "all".into())
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(async |fails: bool| match fails {
        true => Err(std::io::Error::other("told to")),
        false => Ok(()),
    }));
    let mut send = async |fails: bool| {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(fails).await
    };
    send(false).await.unwrap();
    key("bad").scope(send(true)).await.unwrap_err();
    send(false).await.unwrap();
    let again = key("bad").scope(send(false)).await.unwrap_err();
    assert_eq!(again.as_rejection().unwrap().key(), Some("bad"));
    let circuits = layer.handle();
    assert_eq!(circuits.key("bad").unwrap().state(), State::Open);
    assert_eq!(circuits.key("all").unwrap().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_retry_has_the_key() {
    let layer = CircuitBreakerLayer::builder()
        .name("jobs")
        .keyed(|_: &()| "all".into())
        .build()
        .unwrap();
    let circuits = layer.handle();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(layer)
        .service(service_fn(async |()| {
            Err::<(), _>(std::io::Error::other("told to"))
        }));
    key("tenant-7")
        .scope(service.oneshot(()))
        .await
        .unwrap_err();
    let of_key = circuits.key("tenant-7").unwrap().snapshot();
    assert_eq!(of_key.outcomes.failure, 3);
    assert_eq!(circuits.keys(), ["tenant-7"]);
}

#[tokio::test(start_paused = true)]
async fn hostile_keys_are_bounded_and_a_layer_without_keys_ignores_them() {
    let layer = BulkheadLayer::builder()
        .name("jobs")
        .limit(1)
        .keyed(|_: &Duration| "all".into())
        .max_keys(10)
        .build()
        .unwrap();
    let service = layer.layer(service_fn(work));
    for number in 0..1_000 {
        let hostile = format!("{number}\n\u{0}{}", "x".repeat(10_000));
        let call = service.clone().oneshot(secs(0));
        key(&hostile).scope(call).await.unwrap();
    }
    let keys = layer.handle().keys();
    assert!(keys.len() <= 10 && keys.iter().all(|key| key.len() <= 128));

    let service = BulkheadLayer::new(1).layer(service_fn(work));
    let call = |of: &str| key(of).scope(service.clone().oneshot(secs(1)));
    let both = join_all([call("a"), call("b")]).await;
    assert_eq!(both.iter().filter(|result| result.is_ok()).count(), 1);
}

//! The stack of a client around reqwest, hyper-util and tonic.

use std::time::Duration;

use mainstay::reqwest::SendThrough;
use mainstay::{grpc, http, reqwest as resilient};
use tonic::transport::{Channel, Endpoint};

use crate::users::users_client::UsersClient;

/// Named types in a struct.
#[derive(Clone)]
struct Upstreams {
    payments: resilient::Client,
    users: UsersClient<grpc::Client<Channel>>,
}

#[tokio::test]
async fn clients_have_names() {
    let channel = Endpoint::from_static("http://[::1]:50051").connect_lazy();
    let http = reqwest::Client::new();
    let mut upstreams = Upstreams {
        payments: resilient::client("payments")
            .timeout(Duration::from_secs(2))
            .retry(3)
            .build()
            .unwrap()
            .wrap(http.clone()),
        users: UsersClient::new(grpc::client("users").build().unwrap().wrap(channel)),
    };
    let error = http
        .get("http://127.0.0.1:1")
        .send_through(&upstreams.payments)
        .await
        .unwrap_err();
    println!("{error}");
    let spawned = tokio::spawn(async move {
        upstreams
            .users
            .get(crate::users::GetRequest { name: "x".into() })
            .await
    });
    println!("{}", spawned.await.unwrap().unwrap_err());
    println!("{}", http::client("payments").build().unwrap());
}

//! `users` and `catalog`.

use futures_util::TryStreamExt;
use shop::demo;
use shop::services::catalog::proto::{GetProductRequest, GetProductsRequest, ListRequest};
use shop::services::users::proto::{AuthenticateRequest, GetRequest};
use shop::services::{catalog, users};
use tonic::Code;

use crate::support::Server;

#[tokio::test]
async fn users_are_found_by_their_keys() {
    let server = Server::users().await;
    let mut client = users::client(&server.address).unwrap();
    let api_key = "key-u007".to_owned();
    let user = client.authenticate(AuthenticateRequest { api_key });
    let user = user.await.unwrap().into_inner();
    assert_eq!((&*user.id, &*user.tenant), ("u007", "pro"));
    let api_key = "KEY-U007".to_owned();
    let unknown = client.authenticate(AuthenticateRequest { api_key }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unauthenticated);

    let id = "u004".to_owned();
    let user = client.get(GetRequest { id }).await.unwrap().into_inner();
    assert_eq!(user.tenant, "free");
    let id = "u0\n04".to_owned();
    let unknown = client.get(GetRequest { id }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.message(), r"the user u0\n04 is unknown");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn products_have_prices() {
    let (server, _faults) = Server::catalog().await;
    let mut client = catalog::client(&server.address).unwrap();
    let ids = ["kettle", "tea-pot", "kettle"].map(str::to_owned).to_vec();
    let found = client.get_products(GetProductsRequest { ids }).await;
    let found = found.unwrap().into_inner().products;
    let prices: Vec<_> = found.iter().map(|one| (&*one.id, one.price)).collect();
    let expected = [("kettle", 5_900), ("tea-pot", 3_900), ("kettle", 5_900)];
    assert_eq!(prices, expected);

    let ids = vec!["kettle".to_owned(), "samovar".to_owned()];
    let found = client.get_products(GetProductsRequest { ids }).await;
    let found = found.unwrap().into_inner().products;
    assert_eq!((found.len(), &*found[0].id), (1, "kettle"));
    let id = "samovar".to_owned();
    let unknown = client.get_product(GetProductRequest { id }).await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.message(), "the product samovar is unknown");
    let ids = vec![String::new(); 101];
    let too_many = client.get_products(GetProductsRequest { ids }).await;
    assert_eq!(too_many.unwrap_err().code(), Code::InvalidArgument);

    let all = client.list(ListRequest {}).await.unwrap().into_inner();
    let all: Vec<_> = all.try_collect().await.unwrap();
    let ids: Vec<_> = all.iter().map(|product| &*product.id).collect();
    let expected: Vec<_> = demo::PRODUCTS.iter().map(|product| product.id).collect();
    assert_eq!(ids, expected);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_slow_catalogue_is_given_up() {
    let (server, faults) = Server::catalog().await;
    faults.send_modify(|faults| faults.delay_ms = 60_000);
    let mut client = catalog::client(&server.address).unwrap();
    let id = "kettle".to_owned();
    let begin = std::time::Instant::now();
    let slow = client.get_product(GetProductRequest { id }).await;
    assert_eq!(slow.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
    drop(client);
    server.stop().await;
}

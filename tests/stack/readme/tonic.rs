//! The README's tonic server and client.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use mainstay::BoxError;
use tokio_stream::Stream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::common::within;
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        let email = format!("{name}@example.com");
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}

async fn serve(address: SocketAddr) -> Result<(), BoxError> {
    // README: begin tonic server
    let users = mainstay::grpc::server("users")
        .timeout(Duration::from_secs(2))
        .build()?;
    Server::builder()
        .layer(users)
        .add_service(UsersServer::new(Directory))
        .serve(address)
        .await?;
    // README: end
    Ok(())
}

async fn ask(endpoint: Endpoint, request: GetRequest) -> Result<User, BoxError> {
    // README: begin tonic client
    let users = mainstay::grpc::client("users")
        .timeout(Duration::from_secs(1))
        .build()?
        .wrap(endpoint.connect_lazy());
    let mut users = UsersClient::new(users);
    let user = users.get(request).await?.into_inner();
    // README: end
    Ok(user)
}

#[tokio::test]
async fn one_asks_the_other() {
    // tonic binds the address itself, so the port must be free by then: another one is tried if somebody takes it meanwhile.
    let address = within("a server", async {
        loop {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = port.local_addr().unwrap();
            drop(port);
            let server =
                tokio::spawn(
                    async move { serve(address).await.map_err(|error| error.to_string()) },
                );
            while !server.is_finished() {
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    })
    .await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let name = "ada".to_owned();
    let ada = within("an answer", ask(endpoint, GetRequest { name }))
        .await
        .unwrap();
    assert_eq!(ada.email, "ada@example.com");
}

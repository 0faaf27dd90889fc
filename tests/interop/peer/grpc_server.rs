//! The tonic server behind the layers.

use std::collections::HashMap;

use mainstay::BoxError;
use serde_json::{Map, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::echo::{EchoService, WatchService};
use crate::journal::Journal;
use crate::proto::echo_server::EchoServer;
use crate::proto::watch_server::WatchServer;
use crate::stacks::{Serving, serve_grpc};

pub(crate) async fn run() -> Result<(), BoxError> {
    let journal = Journal::new();
    let mut addresses = Map::new();
    let mut stacks = HashMap::new();
    for serving in Serving::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let echo = EchoService {
            journal: journal.clone(),
        };
        let routes = Routes::new(EchoServer::new(echo));
        let in_flight = serve_grpc(listener, serving, routes)?;
        stacks.insert(serving.name.to_owned(), in_flight);
        addresses.insert(serving.name.to_owned(), json!(address));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    addresses.insert("watch".to_owned(), json!(address));
    println!("{}", json!(addresses));
    let watch = WatchService { journal, stacks };
    Server::builder()
        .add_service(WatchServer::new(watch))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

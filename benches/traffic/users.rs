//! A service of tonic's with a stream that does not end.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};

use crate::upstream::BEAT;

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated")]
mod generated {
    include!("../../examples/proto/users.rs");
}
pub(crate) use generated::users_client::UsersClient;
pub(crate) use generated::users_server::UsersServer;
pub(crate) use generated::{GetRequest, ListRequest};
use generated::{User, users_server::Users};

pub(crate) struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let GetRequest { name } = request.into_inner();
        let email = String::new();
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let users = stream::repeat(()).then(async |()| {
            tokio::time::sleep(BEAT).await;
            Ok(User::default())
        });
        Ok(Response::new(users.boxed()))
    }
}

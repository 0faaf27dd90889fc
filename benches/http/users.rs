//! A service of tonic's, of which a call costs next to nothing.

use tonic::{Request, Response, Status};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod generated {
    include!("../../examples/proto/users.rs");
}
pub(crate) use generated::users_client::UsersClient;
pub(crate) use generated::users_server::UsersServer;
pub(crate) use generated::{GetRequest, User};
use generated::{ListRequest, users_server::Users};

/// Where the calls go.
pub(crate) const GET: &str = "/users.Users/Get";

/// Knows everyone.
#[derive(Clone, Copy)]
pub(crate) struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let GetRequest { name } = request.into_inner();
        let email = String::new();
        Ok(Response::new(User { name, email }))
    }

    type ListStream = tokio_stream::Empty<Result<User, Status>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

/// What is asked for.
pub(crate) fn ada() -> GetRequest {
    GetRequest {
        name: "ada".to_owned(),
    }
}

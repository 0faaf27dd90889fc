//! How often a call allocates: the same services, called in this thread without sockets.

use std::convert::Infallible;
use std::fmt::Debug;

use axum::Router;
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use mainstay::BoxError;
use tower::layer::util::Identity;
use tower::{Service, ServiceExt};

use crate::callers::{check, grpc_request, read};
use crate::routers::{router, wrapped};
use crate::stacks::grpc_server;
use crate::users::{Directory, GET, UsersServer};

/// Calls over which allocations are counted, and the first ones, over which they are not: what a service allocates once is
/// not a cost of every call.
const COUNTED: usize = 200;
const FIRST: usize = 10;

/// Allocations a call, by case.
pub(crate) fn all() -> Result<Vec<(&'static str, f64)>, BoxError> {
    let tonic = UsersServer::new(Directory);
    Ok(vec![
        ("axum_bare", axum(router())?),
        // What `Router::layer` takes for any layer.
        ("axum_empty_layer", axum(router().layer(Identity::new()))?),
        ("axum_wrapped", axum(wrapped(router())?)?),
        ("tonic_bare", grpc(tonic.clone())?),
        ("tonic_wrapped", grpc(grpc_server()?.wrap(tonic))?),
    ])
}

fn axum(app: Router) -> Result<f64, BoxError> {
    let requests = vec![Request::<Full<Bytes>>::default(); FIRST + COUNTED];
    // As axum does for every connection.
    count(app.with_state(()), requests)
}

fn grpc<S, B>(service: S) -> Result<f64, BoxError>
where
    S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Error: Debug> + Unpin,
{
    let request = grpc_request(GET.to_owned())?;
    let requests = vec![request; FIRST + COUNTED];
    let requests = requests.into_iter();
    count(
        service,
        requests
            .map(|request| request.map(tonic::body::Body::new))
            .collect(),
    )
}

/// Each request is given to a clone, as servers do it, and its answer is read to the end.
fn count<S, Req, B>(service: S, mut requests: Vec<Req>) -> Result<f64, BoxError>
where
    S: Service<Req, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Error: Debug> + Unpin,
{
    let call = |request| {
        let answer = async {
            let Ok(response) = service.clone().oneshot(request).await;
            check(response.status())?;
            let read = read(response.into_body()).await;
            read.map_err(|error| format!("a body broke off: {error:?}"))?;
            Ok::<_, BoxError>(())
        };
        let answer = answer.now_or_never();
        answer.ok_or("a service was not ready at once")?
    };
    for request in requests.drain(..FIRST) {
        call(request)?;
    }
    let mut result = Ok(());
    let counted = allocation_counter::measure(|| result = requests.drain(..).try_for_each(call));
    result?;
    Ok(counted.count_total as f64 / COUNTED as f64)
}

//~ is not implemented for `ClientStack<mainstay::stack::Grpc>`

use tonic::client::GrpcService;

/// As `tonic_prost_build` writes it.
struct UsersClient<T>(T);

impl<T: GrpcService<tonic::body::Body>> UsersClient<T> {
    fn new(inner: T) -> Self {
        Self(inner)
    }
}

fn main() {
    let UsersClient(_) = UsersClient::new(mainstay::grpc::client("users").build().unwrap());
}

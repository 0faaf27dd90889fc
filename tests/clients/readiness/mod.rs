//! An inner service that fails to be ready, behind the standard stacks: its error is the outcome of a call, as any other.
#![cfg(feature = "full")]

mod answers;
mod grpc;
mod http;
mod orders;
mod upstream;

//! The README's snippets, compiled and run.
#![cfg(feature = "full")]

mod axum_server;
mod gateway;
mod operation;
mod reqwest_client;
mod snippets;
mod tonic;

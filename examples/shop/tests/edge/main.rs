//! The services at the edge of the shop, on real sockets in one process.

#[path = "../common/mod.rs"]
mod common;
mod gateway;
mod notifications;
mod orders;
mod services;
mod support;

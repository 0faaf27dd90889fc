//! What the recipes of `mainstay::recipes` promise, over real sockets.
#![cfg(feature = "full")]

mod edge;
mod fallback;
mod health;
mod long;
mod routes;
mod shutdown;
mod streams;

//! What a server refuses unseen is sent again, costs nothing, and says nothing against the server.
#![cfg(feature = "full")]

mod bounds;
mod reqwests;
mod server;
mod waves;

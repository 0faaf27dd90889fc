//! Deadlines on the wire and time limits on bodies, each test named after what it keeps from happening.
#![cfg(feature = "full")]

mod bodies;
mod inbound;
mod outbound;
mod script;
mod settings;
mod sockets;
mod tonics;
mod uploads;
mod whole_calls;

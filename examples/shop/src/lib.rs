//! A system of microservices on mainstay.

pub mod bench;
pub mod broker;
pub mod config;
pub mod demo;
pub mod drill;
mod group_commit;
pub mod grpc;
pub mod launcher;
pub mod message;
pub mod process;
pub mod saga;
pub mod services;
pub mod stacks;
pub mod store;
pub mod tcp;
pub mod trace;
pub mod web;

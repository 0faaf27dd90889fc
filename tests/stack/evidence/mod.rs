//! What counts as evidence against an upstream, and what one caller can do to the calls of others.
#![cfg(feature = "full")]

mod answers;
mod budgets;
mod callers;
mod gateway;
mod half_sent;
mod limits;
mod refusals;
mod shadow;
mod uploads;

//! The link to the `metrics` facade. Without the feature `metrics` it compiles to nothing.

#[cfg(feature = "metrics")]
mod handles;
#[cfg(feature = "metrics")]
mod on;
#[cfg(feature = "metrics")]
pub(crate) use self::{
    handles::Handles,
    on::{Slot, is_recorded},
};

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(not(feature = "metrics"))]
pub(crate) use off::{Handles, Slot, is_recorded};

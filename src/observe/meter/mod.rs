//! The seam between the layers and the `metrics` facade. Without the feature there is nothing on the
//! other side, and nothing is left of it.

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

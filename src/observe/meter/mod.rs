//! The seam between the layers and the `metrics` facade: without the feature there is nothing on the other side, and nothing is left of it.

#[cfg(feature = "metrics")]
mod handles;
#[cfg(feature = "metrics")]
mod on;
#[cfg(feature = "metrics")]
mod table;
#[cfg(feature = "metrics")]
pub(crate) use self::{
    handles::Handles,
    on::{Meter, Metered, is_recorded, tell_of, tell_of_again},
};

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(not(feature = "metrics"))]
pub(crate) use off::{Handles, Meter, Metered, is_recorded, tell_of, tell_of_again};

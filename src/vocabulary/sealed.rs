//! Seals public traits.

/// A supertrait of the public traits that only this crate implements. Its module is private, so
/// nobody else can implement them, and a method that is added to them breaks nobody.
pub trait Sealed {}

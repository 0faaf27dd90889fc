//! Sets the cfg here rather than in `RUSTFLAGS`, where every dependency would be built with it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=mainstay_loom");
    // This package has none of the library's features.
    println!("cargo::rustc-check-cfg=cfg(feature, values(any()))");
}

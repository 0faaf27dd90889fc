//! The code that is generated from the `.proto` files is kept in the repository, so that nobody who builds this crate needs
//! a code generator. These tests generate it anew and compare.

use std::env;
use std::fs;
use std::path::Path;

const UPDATE: &str = "MAINSTAY_UPDATE_PROTO";

/// Fails unless `name.rs` is what `name.proto` in the same folder makes; or makes it so.
fn is_up_to_date(folder: &str, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proto");
    fs::create_dir_all(&out).unwrap();

    let descriptors = protox::compile([format!("{name}.proto")], [&path]).unwrap();
    // The generator names the file after the package.
    let package = descriptors.file.last().unwrap().package().to_owned();
    tonic_prost_build::configure()
        .out_dir(&out)
        .compile_fds(descriptors)
        .unwrap();
    let generated = fs::read_to_string(out.join(format!("{package}.rs"))).unwrap();

    let kept = path.join(format!("{name}.rs"));
    if env::var_os(UPDATE).is_some() {
        fs::write(&kept, generated).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&kept).is_ok_and(|kept| kept == generated),
        "{folder}/{name}.rs is not what {folder}/{name}.proto (or the code generator's new version) makes of it.\n\
         To update it: {UPDATE}=1 cargo test -p proto-tests",
    );
}

#[test]
fn the_code_of_the_examples_is_up_to_date() {
    is_up_to_date("examples/proto", "users");
    is_up_to_date("examples/proto", "pricing");
}

#[test]
fn the_code_of_the_shop_is_up_to_date() {
    is_up_to_date("examples/shop/proto", "users");
    is_up_to_date("examples/shop/proto", "catalog");
}

#[test]
fn the_code_of_the_interoperability_tests_is_up_to_date() {
    is_up_to_date("tests/interop", "echo");
}

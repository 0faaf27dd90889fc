//! The code that is generated from `examples/proto/users.proto` is kept in the repository, so that nobody who builds this crate needs
//! a code generator. This test generates it anew and compares.
#![cfg(feature = "tonic")]

use std::env;
use std::fs;
use std::path::Path;

const UPDATE: &str = "MAINSTAY_UPDATE_PROTO";

#[test]
fn the_generated_code_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/proto");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proto");
    fs::create_dir_all(&out).unwrap();

    let descriptors = protox::compile(["users.proto"], [&folder]).unwrap();
    tonic_prost_build::configure()
        .out_dir(&out)
        .compile_fds(descriptors)
        .unwrap();
    let generated = fs::read_to_string(out.join("users.rs")).unwrap();

    let kept = folder.join("users.rs");
    if env::var_os(UPDATE).is_some() {
        fs::write(&kept, generated).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&kept).is_ok_and(|kept| kept == generated),
        "examples/proto/users.rs is not what examples/proto/users.proto (or the code generator's new version) makes of it.\n\
         To update it: {UPDATE}=1 cargo test --test proto",
    );
}

//! What the compiler says where something does not fit together: it is to say what to write.
//!
//! Each file in `tests/compile_fail` is a program that must not compile, and the compiler's errors must contain its lines `//~ text`. No more than
//! that, because the rest of what it says changes from one version to the next. `mended.rs` is what the errors say to write, and compiles.
//!
//! They use the crate as a program of its users does: in a package of their own, which is checked without network, with the versions of `Cargo.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The one that compiles, or else a mistake in the package would look like what is expected.
const MENDED: &str = "mended";

#[test]
fn the_compiler_says_what_to_write_where_something_does_not_fit() {
    let cases = cases();
    let Checked { compiled, errors } = check(&package(&cases));
    let said = |case| errors.get(case).map_or("nothing", String::as_str);
    let mut wrong = String::new();
    for (case, path) in &cases {
        if compiled.contains(case) != (case == MENDED) {
            let does = compiled.contains(case);
            wrong += &format!("\n{case} compiles: {does}\n{}", said(case));
        } else if case != MENDED {
            let source = fs::read_to_string(path).unwrap();
            let mut texts = source.lines().filter_map(|line| line.strip_prefix("//~ "));
            let first = texts.next().expect("a case says what is expected");
            for text in [first].into_iter().chain(texts) {
                if !one_line(said(case)).contains(text) {
                    wrong += &format!("\n{case} is not told: {text}\nbut:\n{}", said(case));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Where lines end is the compiler's affair, and so is what it draws next to them.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().filter(|&word| word != "|");
    words.collect::<Vec<_>>().join(" ")
}

/// The programs, by their names.
fn cases() -> BTreeMap<String, PathBuf> {
    fs::read_dir(Path::new(ROOT).join("tests/compile_fail"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

/// A package with all the programs.
fn package(cases: &BTreeMap<String, PathBuf>) -> PathBuf {
    // The lock file says which versions they are.
    let mut manifest = format!(
        r#"
        workspace = {{}}
        [package]
        name = "compile_fail"
        edition = "2024"
        [dependencies]
        mainstay = {{ path = {ROOT:?}, features = ["full"] }}
        axum = {{ version = "*", default-features = false }}
        bytes = "*"
        http = "*"
        http-body = "*"
        http-body-util = "*"
        reqwest = {{ version = "*", default-features = false }}
        tonic = {{ version = "*", default-features = false, features = ["channel", "codegen"] }}
        tower = {{ version = "*", features = ["timeout", "util"] }}
        tower-http = {{ version = "*", default-features = false, features = ["catch-panic", "compression-gzip"] }}
        "#
    );
    for (case, path) in cases {
        manifest += &format!("[[bin]]\nname = {case:?}\npath = {path:?}\n");
    }
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail");
    fs::create_dir_all(&package).unwrap();
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(lock_file(Path::new(ROOT)), lock_file(&package)).unwrap();
    package
}

fn lock_file(package: &Path) -> PathBuf {
    package.join("Cargo.lock")
}

#[derive(Default)]
struct Checked {
    compiled: BTreeSet<String>,
    errors: BTreeMap<String, String>,
}

fn check(package: &Path) -> Checked {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--keep-going", "--offline"])
        .args(["--message-format", "json"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        // Kept from one run to the next. That of the tests may be in use, and has nothing in it that could be used again.
        .arg("--target-dir")
        .arg(package.join("target"))
        // Cargo looks for its configuration from here on.
        .current_dir(ROOT)
        // Warnings are no errors here.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    let mut checked = Checked::default();
    let mut told = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in output.stdout.split(|&byte| byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let (target, message) = (&line["target"], &line["message"]);
        let is_case = target["kind"][0] == "bin";
        let name = || target["name"].as_str().unwrap().to_owned();
        if line["reason"] == "compiler-artifact" && is_case {
            checked.compiled.insert(name());
        } else if message["level"] == "error" {
            let text = message["rendered"].as_str().unwrap();
            let said = match is_case {
                true => checked.errors.entry(name()).or_default(),
                false => &mut told,
            };
            said.push_str(text);
        }
    }
    let reached = checked.compiled.len() + checked.errors.len();
    assert!(reached > 0, "nothing was checked: {told}");
    let used = checksums(package);
    assert!(used.is_subset(&checksums(Path::new(ROOT))), "{told}");
    checked
}

/// Which packages a lock file means.
fn checksums(package: &Path) -> BTreeSet<String> {
    let lock = fs::read_to_string(lock_file(package)).unwrap();
    let lines = lock.lines().filter(|line| line.starts_with("checksum"));
    lines.map(str::to_owned).collect()
}

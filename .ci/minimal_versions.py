"""Makes a package of the library and one of its tests in which every direct dependency has the lowest version that Cargo.toml allows.

    python3 .ci/minimal_versions.py FOLDER

The package is a copy: the repository's own Cargo.toml and Cargo.lock stay as they are. Other dev-dependencies than those of the test are left
out, and so are examples and benches: only the library's bounds are promises to its users.

Resolving to the lowest versions is unstable in cargo. `RUSTC_BOOTSTRAP` lets the stable cargo do it; it is set for that one command, because
build scripts take it for a nightly compiler.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEST = "tests/observe/spans.rs"
# What the test needs besides the library's own dependencies.
DEV = {"hyper", "hyper-util", "tokio", "tonic", "tower", "tracing-subscriber"}


def manifest():
    lines = (ROOT / "Cargo.toml").read_text().splitlines()
    kept, section = [], ""
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]")
            # The library's own targets are found by cargo.
            if section in ("example", "bench"):
                continue
        if section in ("example", "bench") or line.startswith("autobenches"):
            continue
        # The package is a workspace by itself; what it takes over from `workspace.package` and `workspace.lints` stays.
        if section == "workspace" and not line.startswith("["):
            continue
        if section == "dev-dependencies":
            name = re.match(r"([\w-]+) *=", line)
            if name and name[1] not in DEV:
                continue
        if section == "package" and line.startswith("edition"):
            line += "\nautoexamples = false\nautobenches = false\nautotests = false"
        kept.append(line)
    kept.append('[[test]]\nname = "spans"\npath = "tests/spans.rs"\n')
    return "\n".join(kept)


def main():
    package = pathlib.Path(sys.argv[1])
    package.mkdir(parents=True, exist_ok=True)
    for folder in ("src", "tests"):
        shutil.rmtree(package / folder, ignore_errors=True)
    shutil.copytree(ROOT / "src", package / "src")
    (package / "tests").mkdir()
    shutil.copy(ROOT / TEST, package / "tests/spans.rs")
    shutil.copy(ROOT / "README.md", package)
    (package / "Cargo.toml").write_text(manifest())
    (package / "Cargo.lock").unlink(missing_ok=True)
    subprocess.run(
        ["cargo", "update", "--quiet", "-Z", "direct-minimal-versions"],
        cwd=package,
        env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        check=True,
    )


if __name__ == "__main__":
    main()

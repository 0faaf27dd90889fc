"""Packages the crate as it would be published, and checks what is in it and how large it is.

    python3 .ci/package.py          build from the package, too
    python3 .ci/package.py --list   only show what is in it
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Bytes, compressed. The aim is 250 kB; the library with its documentation is far above that, and is not to grow. The
# limit was 380 kB before settings as data, keys, the registry, health and shutdown were added.
LIMIT = 485_000
# Besides src/**/*.rs. Cargo itself adds four.
EXPECTED = {"CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"}
BY_CARGO = {".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml", "Cargo.toml.orig"}


def cargo(*arguments: str) -> str:
    command = ["cargo", "package", "--locked", "--allow-dirty", "--package", "mainstay", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def main() -> None:
    files = set(cargo("--list").split())
    if missing := EXPECTED - files:
        sys.exit(f"not in the package: {sorted(missing)}")
    rest = files - EXPECTED - BY_CARGO
    if others := sorted(name for name in rest if not re.fullmatch(r"src/.*\.rs", name)):
        sys.exit(f"in the package, but should not be: {others}")
    if "--list" in sys.argv:
        print(*sorted(files), sep="\n")
        return
    # Builds the library from the package, with all of its adapters.
    cargo("--features", "full")
    version = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    size = (ROOT / f"target/package/mainstay-{version}.crate").stat().st_size
    print(f"{len(files)} files, {size / 1000:.0f} kB compressed, of at most {LIMIT / 1000:.0f}")
    if size > LIMIT:
        sys.exit("the package is too large")


main()

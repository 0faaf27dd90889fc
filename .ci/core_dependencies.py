"""Without features the library depends on a handful of crates, and on no protocol."""

import subprocess
import sys

HANDFUL = {
    "futures-core",
    "hdrhistogram",
    "pin-project-lite",
    "rand",
    "tokio",
    "tower-layer",
    "tower-service",
    "uuid",
}


def main() -> None:
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "--no-default-features", "-e", "normal", "--depth", "1", "--prefix", "none"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    direct = {line.split()[0] for line in tree.splitlines()[1:] if line.strip()}
    if unknown := direct - HANDFUL:
        sys.exit(f"the core has new dependencies: {sorted(unknown)}")
    print(f"the core depends on {len(direct)} crates: {', '.join(sorted(direct))}")


main()

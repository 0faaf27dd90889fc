"""Compiles the library with every combination of its features, and lets no warning pass.

    python3 .ci/feature_combinations.py

A combination is a set that contains whatever its members enable, so that none is compiled twice under two names. The features in TOGETHER only
observe or add a method: all combinations of the others are compiled with none of them and with all, and each of them once by itself. Nothing has to be installed.
"""

import itertools
import json
import subprocess
import sys

TOGETHER = frozenset({"metrics", "schemars", "serde", "signal", "tracing"})
# Sums of others.
SUMS = {"default", "full"}


def features() -> dict[str, set[str]]:
    """Each feature, and what it enables."""
    text = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"], check=True, capture_output=True, text=True
    ).stdout
    package = next(package for package in json.loads(text)["packages"] if package["name"] == "mainstay")
    found = {name: set(enables) for name, enables in package["features"].items() if name not in SUMS}
    return {name: {other for other in enables if other in found} for name, enables in found.items()}


def closed(names: frozenset[str], enables: dict[str, set[str]]) -> frozenset[str]:
    more = names.union(*(enables[name] for name in names))
    return names if more == names else closed(more, enables)


def combinations() -> list[frozenset[str]]:
    enables = features()
    alone = [name for name in sorted(enables) if name not in TOGETHER]
    some = itertools.chain.from_iterable(itertools.combinations(alone, size) for size in range(len(alone) + 1))
    base = {closed(frozenset(names), enables) for names in some}
    base |= {names | TOGETHER for names in base}
    base |= {closed(frozenset({name}), enables) for name in enables}
    return sorted(base, key=lambda names: (len(names), sorted(names)))


def warnings(names: frozenset[str]) -> list[str]:
    done = subprocess.run(
        ["cargo", "check", "--locked", "--quiet", "--package", "mainstay", "--lib", "--no-default-features"]
        + ["--features", ",".join(sorted(names)), "--message-format", "json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = [message["message"]["rendered"] for message in messages if message["reason"] == "compiler-message"]
    if done.returncode and not found:
        sys.exit(f"cargo check ended with {done.returncode}")
    return found


def main() -> None:
    todo = combinations()
    for number, names in enumerate(todo, 1):
        print(f"{number}/{len(todo)}: {', '.join(sorted(names)) or 'none'}", flush=True)
        if found := warnings(names):
            sys.exit("\n".join(found))


main()

#!/usr/bin/env python3
"""Checks that the folders of src/ import only from folders further down, and by their own paths.

The order, from the ground up: runtime, vocabulary, policy, observe, call, layers, protocol, registry,
stack, health, shutdown, clients, testing. The files in src/ itself give the public paths, and nothing imports from them.
"""

import re
import sys
from pathlib import Path

ORDER = [
    "runtime",
    "vocabulary",
    "policy",
    "observe",
    "call",
    "layers",
    "protocol",
    "registry",
    "stack",
    "shutdown",
    "health",
    "clients",
    "testing",
]
SRC = Path(__file__).resolve().parent.parent / "src"


def without_comments(source):
    """Nor string literals, which may be docs: those link to the public paths."""
    source = re.sub(r"//.*", "", source)
    source = re.sub(r"""r#".*?"#|'\\?"'""", "", source, flags=re.DOTALL)
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', source, flags=re.DOTALL)


def without_tests(source):
    """Unit tests may use anything. They come last in a file."""
    return re.split(r"#\[cfg\(test\)\]\s*(?:#\[path[^\]]*\]\s*)?mod \w+ \{", source)[0]


def targets(source):
    """The first name of each path that begins with `crate::`."""
    for match in re.finditer(r"\bcrate::(\w+|\{)", source):
        if match[1] != "{":
            yield match[1]
            continue
        depth, item, at = 1, "", match.end()
        while depth:
            char = source[at]
            depth += {"{": 1, "}": -1}.get(char, 0)
            if depth == 0 or (depth == 1 and char == ","):
                if name := re.match(r"\s*(\w+)", item):
                    yield name[1]
                item = ""
            else:
                item += char
            at += 1


def main():
    faults = []
    checked = 0
    for path in sorted(SRC.rglob("*.rs")):
        folder = path.relative_to(SRC).parts[0]
        if folder not in ORDER:
            if folder not in {"lib.rs", "http.rs", "grpc.rs", "models.rs", "recipes.rs"}:
                faults.append(f"{path.relative_to(SRC)}: not in a folder that has a place in the order")
            continue
        if re.search(r"(^|_)(tests|simulation|models?|scenarios)\b", path.stem) or "tests" in path.parts:
            continue
        checked += 1
        for name in targets(without_tests(without_comments(path.read_text()))):
            if name not in ORDER:
                faults.append(f"{path.relative_to(SRC)}: imports crate::{name} and not from the folder where it is defined")
            elif ORDER.index(name) > ORDER.index(folder):
                faults.append(f"{path.relative_to(SRC)}: {folder} must not import from {name}")
    if checked < 100:
        faults.append(f"only {checked} files were found")
    for fault in sorted(set(faults)):
        print(fault)
    sys.exit(bool(faults))


main()

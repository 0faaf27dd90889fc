"""Checks what the overhead benchmark printed: its shape, and that mainstay's own cases allocate nothing.

Nanoseconds and ratios are shown and not judged: a busy machine makes them what it likes.
"""

import json
import sys

RATIOS = {
    "circuit_breaker/tower_resilience",
    "bulkhead/tower",
    "timeout/tower",
    "load_shed/tower",
    "six_layers/tower_three",
    "breaker_two_threads/one",
}
PEERS = ("tower", "bare")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    if missing := RATIOS - set(report["ratios"]):
        sys.exit(f"ratios are missing: {sorted(missing)}")
    for case in report["cases"]:
        print(f"{case['name']:45} {case['ns']:9.1f} ns {case['allocs']:6.2f} allocs")
        if case["allocs"] and not case["name"].startswith(PEERS):
            sys.exit(f"{case['name']} allocates")
    for name, ratio in report["ratios"].items():
        print(f"{name:45} {ratio:9.2f}")


main()

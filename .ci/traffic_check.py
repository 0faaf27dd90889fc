"""Checks what the traffic benchmark printed.

Honest calls: with stacks that have nothing set no more of them fail than without any, which is none unless the machine itself
stood still. Overload: goodput and median of the standard stack, once the overload was found. A machine with other work to do can miss these once, so the part is
run again up to two times; a stack that is at fault misses each time.
"""

import json
import subprocess
import sys

LEAST_OF_CAPACITY = 0.85
MOST_MEDIAN_MS = 200
STACKS = ("http::server, nothing set", "the same, handlers that wait")
TRIES = 3


def check_mixed(mixed: dict) -> None:
    for side in ("without", "with"):
        counts = mixed[side]
        print(f"{side:8} {counts['failed']} of {counts['calls']} honest calls failed {counts['failures']}")
        if counts["calls"] < 3_000:
            sys.exit(f"{side} stacks only {counts['calls']} honest calls were made")
    if mixed["with"]["failed"] > mixed["without"]["failed"]:
        sys.exit("stacks with nothing set fail honest calls")


def meets(overload: list) -> bool:
    for row in overload:
        print(f"{row['server']:28} {row['of_capacity']:.2f} of capacity, median {row['median_ms']:.0f} ms")
    stacks = [row for row in overload if row["server"] in STACKS]
    assert len(stacks) == len(STACKS), overload
    return all(stack["of_capacity"] >= LEAST_OF_CAPACITY and stack["median_ms"] < MOST_MEDIAN_MS for stack in stacks)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    check_mixed(report["mixed"])
    for again in range(TRIES):
        if meets(report["overload"]):
            return
        if again + 1 < TRIES:
            # With the others, as it was built.
            packages = [f"--package=bench-{name}" for name in ("http", "overhead", "traffic")]
            command = ["cargo", "bench", "--locked", *packages, "--bench", "traffic", "--", "--json", "--only", "overload"]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300).stdout
            report = json.loads(output)
    sys.exit(f"in overload: less than {LEAST_OF_CAPACITY} of the capacity, or a median of {MOST_MEDIAN_MS} ms and more")


main()

"""Checks what the HTTP benchmark printed: its shape.

Throughputs, times and ratios are shown and not judged: a busy machine makes them what it likes.
"""

import json
import sys

PAIRS = (
    "axum",
    "axum_tower",
    "axum_empty_layer",
    "axum_only_id",
    "tonic",
    "tonic_only_id",
    "tonic_client",
    "reqwest",
)
RATIOS = {f"{pair}_wrapped/bare" for pair in PAIRS}
CASES = {f"{pair}_{how}" for pair in PAIRS for how in ("bare", "wrapped")}
COUNTED = {"axum_bare", "axum_wrapped", "tonic_bare", "tonic_wrapped"}
SHAPE = {
    "ratios": RATIOS,
    "cpu_ratios": RATIOS,
    "throughput": CASES,
    "cpu_us_per_request": CASES,
    "busy": CASES,
    "allocs": COUNTED,
    "refused": CASES,
}
# May be nothing.
SHARES = ("refused",)
SPREADS = ("quartiles", "cpu_quartiles")


def is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    for part, names in SHAPE.items():
        figures = report.get(part, {})
        if missing := names - set(figures):
            sys.exit(f"{part} lacks {sorted(missing)}")
        for name, value in figures.items():
            if not (is_positive(value) or part in SHARES and value == 0):
                sys.exit(f"{part} has {value!r} for {name}")
            print(f"{part:20} {name:28} {value:12.3f}")
    for part in SPREADS:
        spreads = report.get(part, {})
        if missing := RATIOS - set(spreads):
            sys.exit(f"{part} lacks {sorted(missing)}")
        for name, (low, high) in spreads.items():
            if not (is_positive(low) and low <= high):
                sys.exit(f"{part} has {low!r} .. {high!r} for {name}")


main()

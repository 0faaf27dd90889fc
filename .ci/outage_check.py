"""Checks what the outage example printed: its shape, and those of its claims that no noise can touch.

Times are left alone here: a busy machine makes them what it likes.
"""

import json
import sys

PHASES = ["healthy", "slow", "broken", "refused", "recovery"]
FIELDS = {"calls", "success_rate", "p50_ms", "p99_ms", "upstream_calls", "peak_in_flight"}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    if set(report) != {"with", "without"}:
        sys.exit(f"unexpected keys: {sorted(report)}")
    for name, run in report.items():
        if set(run) != {"phases", "recovered_after_s"} or list(run["phases"]) != PHASES:
            sys.exit(f"{name}: unexpected shape: {run}")
        for phase, row in run["phases"].items():
            if set(row) != FIELDS or not 0 <= row["success_rate"] <= 1 or row["calls"] <= 0:
                sys.exit(f"{name}, {phase}: unexpected row: {row}")

    def bad(run: str) -> int:
        return sum(report[run]["phases"][phase]["upstream_calls"] for phase in PHASES[1:4])

    saved = 1 - bad("with") / bad("without")
    if saved < 0.8:
        sys.exit(f"the stack saved the upstream only {saved:.0%} of the calls in the bad phases")
    peak = {run: max(row["peak_in_flight"] for row in report[run]["phases"].values()) for run in report}
    if peak["with"] * 2 > peak["without"]:
        sys.exit(f"the stack did not bound the calls in flight: {peak}")
    print(f"calls saved in the bad phases: {saved:.1%}; peak in flight: {peak}")


main()

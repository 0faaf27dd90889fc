"""Checks the report of the outage example: its shape, and the claims that no noise can touch.

Times are not checked: a busy machine changes them.
"""

import json
import sys

PHASES = ["healthy", "slow", "broken", "refused", "recovery"]
SHARES = {"success_rate", "other_route_success_rate"}
FIELDS = SHARES | {"calls", "p50_ms", "p99_ms", "upstream_calls", "peak_in_flight"}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    if set(report) != {"with", "without"}:
        sys.exit(f"unexpected keys: {sorted(report)}")
    for name, run in report.items():
        if set(run) != {"phases", "recovered_after_s"} or list(run["phases"]) != PHASES:
            sys.exit(f"{name}: unexpected shape: {run}")
        for phase, row in run["phases"].items():
            if set(row) != FIELDS or row["calls"] <= 0 or not all(0 <= row[share] <= 1 for share in SHARES):
                sys.exit(f"{name}, {phase}: unexpected row: {row}")

    def each(run: str, field: str) -> list[float]:
        return [report[run]["phases"][phase][field] for phase in PHASES]

    for phase, rate in zip(PHASES, each("with", "other_route_success_rate")):
        if rate < 0.999:
            sys.exit(f"{phase}: with the stack only {rate:.2%} of the other route's calls succeeded")
    hurt = min(each("without", "other_route_success_rate"))
    if hurt > 0.9:
        sys.exit(f"without the stack the other route was not hurt: {hurt:.1%} of its calls succeeded")
    bad = {run: sum(each(run, "upstream_calls")[1:4]) for run in report}
    saved = 1 - bad["with"] / bad["without"]
    if saved < 0.8:
        sys.exit(f"the stack saved the upstream only {saved:.0%} of the calls in the bad phases")
    peak = {run: max(each(run, "peak_in_flight")) for run in report}
    if peak["with"] * 2 > peak["without"]:
        sys.exit(f"the stack did not bound the calls in flight: {peak}")
    print(f"the other route's success without the stack, at its worst: {hurt:.1%}; with it: 100 % or nearly so")
    print(f"calls saved in the bad phases: {saved:.1%}; peak in flight: {peak}")


main()

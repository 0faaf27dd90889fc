"""Checks what the overhead benchmark printed: its shape, and that mainstay's own cases allocate nothing.

Nanoseconds and ratios are shown and not judged: a busy machine makes them what it likes.
"""

import json
import sys

RATIOS = {
    "circuit_breaker/tower_resilience",
    "bulkhead/tower",
    "timeout/tower",
    "timeout/seatbelt",
    "retry/seatbelt",
    "circuit_breaker_default/seatbelt",
    "timeout/seatbelt_unboxed",
    "retry/seatbelt_unboxed",
    "load_shed/tower",
    "six_layers/tower_three",
    "six_layers/without_features",
    "six_layers_recorded/six_layers",
    "six_layers_yields/without_snapshots",
    "server_stack/by_hand",
    "client_stack/by_hand",
    "breaker_two_threads/one",
}
PEERS = ("tower", "seatbelt", "bare", "by_hand", "prometheus")
# A stack allocates, and is to do so as often as this one.
STACKS = {
    "server_stack": "by_hand_server",
    "server_stack_recorded": "server_stack",
    "client_stack": "by_hand_client",
}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    if missing := RATIOS - set(report["ratios"]):
        sys.exit(f"ratios are missing: {sorted(missing)}")
    allocs = {case["name"]: case["allocs"] for case in report["cases"]}
    for case in report["cases"]:
        print(f"{case['name']:45} {case['ns']:9.1f} ns {case['allocs']:6.2f} allocs")
        if same := STACKS.get(case["name"]):
            if case["allocs"] > allocs[same]:
                sys.exit(f"{case['name']} allocates more often than {same}")
        elif case["allocs"] and not case["name"].startswith(PEERS):
            sys.exit(f"{case['name']} allocates")
    for name, ratio in report["ratios"].items():
        print(f"{name:45} {ratio:9.2f}")


main()

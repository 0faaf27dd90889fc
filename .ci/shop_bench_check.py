"""Checks what `shop bench --json` prints: all cases, with numbers that can be. How fast they are depends on the machine.

    python3 .ci/shop_bench_check.py target/shop_bench.json
"""

import json
import sys
from pathlib import Path

CASES = {
    "transports": ["TCP", "gRPC", "HTTP"],
    "orders": ["stock by TCP", "stock by the embedded broker", "stock by Redis"],
}


def main() -> None:
    (file,) = sys.argv[1:]
    bench = json.loads(Path(file).read_text(encoding="utf-8"))
    for part, cases in CASES.items():
        found = [row["case"] for row in bench[part]]
        if found != cases:
            sys.exit(f"bench: {part} are {found}, and must be {cases}")
        for row in bench[part]:
            for numbers in (row["without"], row["with"]):
                if not 0 < numbers["p50_ms"] <= numbers["p99_ms"] or not numbers["per_second"] > 0:
                    sys.exit(f"bench: {row['case']} has impossible numbers: {numbers}")
            print(f"bench: {row['case']}: {row['with']['per_second']:.0f} a second, {row['ratio']['median']:.2f} of without the stacks")


main()

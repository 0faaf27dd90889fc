"""Checks what `shop drill --json` prints: one object, and right books.

    python3 .ci/drill_check.py target/drill.json
"""

import json
import sys
from pathlib import Path

BOOKS = ["lost", "charged_twice", "stock_wrong", "late_answers", "sagas_open"]
KEYS = ["orders", "answered", "confirmed", "compensated", *BOOKS, "broker", "kills", "seconds"]


def main() -> None:
    (file,) = sys.argv[1:]
    # Nothing else may be on the standard output.
    drill = json.loads(Path(file).read_text(encoding="utf-8"))
    if list(drill) != KEYS:
        sys.exit(f"drill: the fields are {list(drill)}, and must be {KEYS}")
    wrong = {book: drill[book] for book in BOOKS if drill[book] != 0}
    if wrong:
        sys.exit(f"drill: {wrong} must be 0")
    if drill["answered"] != drill["orders"] or drill["confirmed"] + drill["compensated"] != drill["orders"]:
        sys.exit(f"drill: not all orders have an end: {drill}")
    if drill["kills"] < 3 or not drill["confirmed"] or not drill["compensated"]:
        sys.exit(f"drill: too little has happened: {drill}")
    print(f"drill: {drill}")


main()

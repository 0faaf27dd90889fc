"""Reads what the cases print, one line of JSON each, and says what became of all of them.

`report.py EXPECTED_FAILURES`: the file names cases that are known to fail, one on each line. One of them that holds is a failure, too, so that
it is taken out, unless the line begins with `sometimes `: two clocks race there.
"""

import json
import sys
from pathlib import Path


def main():
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    sometimes = {line.removeprefix("sometimes ") for line in lines if line.startswith("sometimes ")}
    expected = sometimes | {line for line in lines if not line.startswith("sometimes ")}
    seen, failed, waiting, surprises = set(), [], [], []
    for line in sys.stdin:
        try:
            case = json.loads(line)
            name, ok, reason = case["case"], case["ok"], case["reason"]
        except (ValueError, KeyError, TypeError):
            name, ok, reason = f"a line of a case: {line.strip()}", False, "not one line of JSON"
        if name in seen:
            ok, reason = False, "there are two cases of this name"
        seen.add(name)
        if ok and name in expected - sometimes:
            surprises.append(name)
            print(f"ok      {name} (take it out of expected_failures)", flush=True)
        elif ok:
            print(f"ok      {name}", flush=True)
        elif name in expected:
            waiting.append(name)
            print(f"waits   {name}: {reason}", flush=True)
        else:
            failed.append(name)
            print(f"FAILED  {name}: {reason}", flush=True)
    for name in sorted(expected - seen):
        failed.append(name)
        print(f"FAILED  {name}: is in expected_failures, but there is no such case", flush=True)
    good = len(seen) - len([name for name in seen if name in failed or name in waiting])
    print(f"\n{good} ok, {len(failed)} failed, {len(waiting)} failed as expected, {len(surprises)} unexpectedly ok")
    sys.exit(1 if failed or surprises or not seen else 0)


main()

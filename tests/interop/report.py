"""Reads what the cases print, one line of JSON each, and says what became of all of them."""

import json
import sys


def main():
    seen, failed = set(), set()
    for line in sys.stdin:
        try:
            case = json.loads(line)
            name, ok, reason = case["case"], case["ok"], case["reason"]
        except (ValueError, KeyError, TypeError):
            name, ok, reason = f"a line of a case: {line.strip()}", False, "not one line of JSON"
        if name in seen:
            ok, reason = False, "there are two cases of this name"
        seen.add(name)
        if ok:
            print(f"ok      {name}", flush=True)
        else:
            failed.add(name)
            print(f"FAILED  {name}: {reason}", flush=True)
    print(f"\n{len(seen) - len(failed)} ok, {len(failed)} failed")
    sys.exit(1 if failed or not seen else 0)


main()

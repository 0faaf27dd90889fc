"""Cases: each is a function, and prints one line of JSON: what it is called, whether it holds, and why not."""

import json
import time
import traceback

_cases = []


def case(name):
    def add(function):
        _cases.append((name, function))
        return function

    return add


def run(group):
    for name, function in _cases:
        reason = None
        try:
            function()
        except AssertionError as error:
            reason = str(error) or traceback.format_exc(limit=-1)
        except Exception as error:  # A case that breaks has failed; the others go on.
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__} in line {where.lineno} of {where.filename}: {error}"
        line = {"case": f"{group}: {name}", "ok": reason is None, "reason": reason}
        print(json.dumps(line), flush=True)


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def between(what, found, least, most):
    assert found is not None and least <= found <= most, f"{what}: {found!r}, not {least} to {most}"


def until(what, holds, seconds=5):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"waited in vain until {what}"
        time.sleep(0.005)

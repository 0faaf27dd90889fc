"""Counts the instructions, allocations and clock readings of a call with callgrind, and compares them with a baseline.

    python3 .ci/instructions.py                 compare with benches/instructions/baseline.txt
    python3 .ci/instructions.py --renew         write the baseline anew
    python3 .ci/instructions.py --only NAME     print the counts of the cases whose name contains NAME

The comparison fails when a case takes over 5 % more instructions than its baseline, or allocates or reads the clock
more often. A change that is meant to cost that much renews the baseline in the same commit.

The counts do not depend on the speed or the load of the machine. They depend on the compiler, so the baseline names
its release. With another release the script prints the comparison and a warning, and does not fail. The CI workflow
installs the release that the baseline names. Renew the baseline after an update of the toolchain.

Each case runs in a process of its own and is counted after its first calls. A figure is the count per call minus the
count per call of the bare service. Under valgrind a clock reading is a system call and takes almost no instructions,
so clock readings have a column of their own.

There is no harness: the runner of gungraun takes over three minutes to build on two cores, and keeps no baseline in
the repository. After a run, `callgrind_annotate target/instructions/CASE.out.2` shows a case by function.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benches/instructions/baseline.txt"
OUT = ROOT / "target/instructions"
# Built together with the other benchmarks: the same dependencies with the same features, compiled once.
PACKAGES = ("bench-http", "bench-instructions", "bench-overhead", "bench-traffic")
CALLS = 1000
GROWTH = 0.05
# The smallest cases have fifty instructions: a few more are no finding.
FEW = 5
# Callgrind writes its counters to a file and resets them at the entry of each: the second file has the counted calls.
FUNCTIONS = ("counted_by_callgrind", "end_of_count")
ALLOCATIONS = {"malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign"}
CLOCK = {"clock_gettime"}
COLUMNS = ("instructions", "allocations", "clock")
HEADER = """\
# Counts per call, minus those of the bare service (the cases "bare..." and "router..." are absolute). "clock" is the
# number of clock readings. Written by: python3 .ci/instructions.py --renew
"""


def program() -> str:
    """Builds the benchmark; the path of its executable."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "instructions", "--message-format=json"]
    for package in PACKAGES:
        command += ["-p", package]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in built.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "instructions":
            return message["executable"]
    sys.exit("cargo built no benchmark `instructions`")


def compiler() -> str:
    version = subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return f"rustc {version.split()[1]} {platform.machine()}"


def count(executable: str, case: str) -> tuple[float, ...]:
    """The counts per call of this case."""
    out = OUT / f"{case}.out"
    command = [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={out}",
        *(f"--dump-before=*{function}*" for function in FUNCTIONS),
        executable,
        "count",
        case,
        str(CALLS),
    ]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{case} failed under callgrind:\n{ran.stdout}")
    return tuple(total / CALLS for total in totals(pathlib.Path(f"{out}.2").read_text()))


def totals(profile: str) -> tuple[int, int, int]:
    """The instructions of a profile, and its calls of the functions that allocate and of those that read the clock.

    The profile defines a name once, `cfn=(7) malloc`, and then refers to it, `cfn=(7)`. The next line that begins with
    `calls=` holds the number of calls.
    """
    names: dict[str, str] = {}
    instructions = allocations = readings = 0
    called = ""
    for line in profile.splitlines():
        if function := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            number, name = function.groups()
            if name:
                # glibc appends a version: clock_gettime@@GLIBC_2.17.
                names[number] = name.split("@")[0]
            if line.startswith("c"):
                called = names[number]
        elif line.startswith("calls="):
            calls = int(line.removeprefix("calls=").split()[0])
            if called in ALLOCATIONS:
                allocations += calls
            elif called in CLOCK:
                readings += calls
        elif line.startswith("totals:"):
            instructions = int(line.split()[1])
    if not instructions:
        sys.exit(f"callgrind collected nothing: is one of {FUNCTIONS} inlined?")
    return instructions, allocations, readings


def measure(executable: str, only: str) -> dict[str, tuple[int, float, float]]:
    """The counts of all cases whose name contains this, each minus those of its bare service."""
    listed = subprocess.run([executable, "list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    bare_of = dict(line.split() for line in listed.splitlines())
    wanted = [case for case in bare_of if only in case]
    needed = set(wanted) | {bare_of[case] for case in wanted} - {"-"}
    OUT.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(needed, pool.map(lambda case: count(executable, case), needed)))
    nothing = (0.0, 0.0, 0.0)
    measured = {}
    for case in wanted:
        bare = counted.get(bare_of[case], nothing)
        instructions, allocations, readings = (ours - base for ours, base in zip(counted[case], bare))
        measured[case] = (round(instructions), round(allocations, 1), round(readings, 1))
    return measured


def write(measured: dict[str, tuple[int, float, float]], toolchain: str) -> None:
    lines = [HEADER, f"compiler: {toolchain}\n\n", "{:26}{:>14}{:>14}{:>8}\n".format("case", *COLUMNS)]
    for case, counts in measured.items():
        lines.append("{:26}{:14}{:14.1f}{:8.1f}\n".format(case, *counts))
    BASELINE.write_text("".join(lines))


def read() -> tuple[str, dict[str, tuple[int, float, float]]]:
    toolchain, baseline = "", {}
    for line in BASELINE.read_text().splitlines():
        if line.startswith("compiler:"):
            toolchain = line.removeprefix("compiler:").strip()
        elif line and not line.startswith(("#", "case ")):
            case, instructions, allocations, readings = line.split()
            baseline[case] = (int(instructions), float(allocations), float(readings))
    return toolchain, baseline


def compare(measured: dict[str, tuple[int, float, float]], baseline: dict[str, tuple[int, float, float]]) -> list[str]:
    """Prints the comparison; returns a line for each finding."""
    findings = []
    print("{:26}{:>10}{:>10}{:>9}{:>14}{:>8}".format("case", "baseline", "now", "change", *COLUMNS[1:]))
    for case, now in measured.items():
        before = baseline.get(case)
        if before is None:
            findings.append(f"{case}: not in the baseline")
            continue
        change = now[0] / before[0] - 1 if before[0] else 0.0
        print(f"{case:26}{before[0]:10}{now[0]:10}{change:+9.1%}{now[1]:14.1f}{now[2]:8.1f}")
        if now[0] > max(before[0] * (1 + GROWTH), before[0] + FEW):
            findings.append(f"{case}: {now[0]} instructions, {before[0]} in the baseline ({change:+.1%})")
        for column, new, old in zip(COLUMNS[1:], now[1:], before[1:]):
            # Sampled readings and growing buffers make a tenth of difference.
            if new > old + 0.15:
                findings.append(f"{case}: {column} {new:.1f}, {old:.1f} in the baseline")
    findings += [f"{case}: in the baseline, and not in the benchmark" for case in baseline if case not in measured]
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts instructions per call and compares them with a baseline.")
    parser.add_argument("--renew", action="store_true", help="write the baseline anew")
    parser.add_argument("--only", metavar="NAME", default="", help="print the cases whose name contains this")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    measured = measure(program(), args.only)
    if args.only:
        for case, counts in measured.items():
            print("{:26}{:14}{:14.1f}{:8.1f}".format(case, *counts))
        return
    toolchain = compiler()
    if args.renew:
        write(measured, toolchain)
        print(f"{BASELINE.relative_to(ROOT)} is written")
        return
    named, baseline = read()
    findings = compare(measured, baseline)
    if not findings:
        print(f"no case of {len(measured)} grew by more than {GROWTH:.0%}")
        return
    print("\n".join(["", *findings]))
    if named != toolchain:
        print(f"WARNING: the baseline is for {named} and this is {toolchain}, so nothing fails")
        return
    sys.exit(
        f"\n{len(findings)} cases differ from benches/instructions/baseline.txt. If that is meant, renew the baseline in "
        "the same commit:\n    python3 .ci/instructions.py --renew"
    )


main()

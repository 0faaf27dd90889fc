#!/usr/bin/env python3
"""Ends the gateway example with SIGTERM while callers send requests, and lets no request fail.

    python3 .ci/graceful_shutdown.py target/debug/gateway

The callers keep their connections, and stop when the readiness check fails, as behind a load balancer. A second gateway is ended by two signals.
Everything listens on 127.0.0.1 only. Nothing has to be installed.
"""

import http.client
import re
import signal
import subprocess
import sys
import threading
import time

CALLERS = 8
# In seconds.
DRAIN = 1
CHECK_EVERY = 0.1
LONGEST = 30


class Gateway:
    def __init__(self, program: str, drain: int) -> None:
        command = [program, "--port", "0", "--load", "0", "--drain", str(drain)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
        first = self.process.stdout.readline()
        if not (found := re.match(r"gateway +http://(127\.0\.0\.1:\d+)$", first)):
            sys.exit(f"graceful shutdown: the gateway did not start: {first!r}")
        self.address = found[1]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=10)

    def end(self) -> tuple[int, float]:
        """Its exit code, and how long it took."""
        began = time.monotonic()
        return self.process.wait(timeout=LONGEST), time.monotonic() - began


def get(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def under_load(program: str) -> str:
    gateway = Gateway(program, DRAIN)
    stop = threading.Event()
    answers: list[object] = []

    def caller() -> None:
        connection = gateway.connect()
        while not stop.is_set():
            try:
                answers.append(get(connection, "/products/lamp"))
            except OSError as error:
                answers.append(error)
                connection.close()
            except http.client.HTTPException as error:
                answers.append(error)
                connection.close()

    def check() -> None:
        while get(gateway.connect(), "/readyz") == 200:
            time.sleep(CHECK_EVERY)
        stop.set()

    threads = [threading.Thread(target=work, daemon=True) for work in [check] + CALLERS * [caller]]
    for thread in threads:
        thread.start()
    time.sleep(1)
    before = len(answers)
    gateway.process.send_signal(signal.SIGTERM)
    code, took = gateway.end()
    stop.set()
    for thread in threads:
        thread.join(timeout=10)
    failed = [answer for answer in answers if answer != 200]
    if failed or code != 0:
        sys.exit(f"graceful shutdown: exit code {code}, {len(failed)} of {len(answers)} requests failed: {failed[:5]}")
    if before < 2 * CALLERS or len(answers) == before:
        sys.exit(f"graceful shutdown: too few requests: {before} before the signal, {len(answers)} in all")
    if not DRAIN <= took < DRAIN + 5:
        sys.exit(f"graceful shutdown: it took {took:.1f} s")
    return f"{len(answers)} requests, {len(answers) - before} of them after SIGTERM, none failed; it took {took:.1f} s"


def in_a_hurry(program: str) -> None:
    gateway = Gateway(program, 600)
    gateway.process.send_signal(signal.SIGTERM)
    connection = gateway.connect()
    until = time.monotonic() + 5
    while get(connection, "/readyz") != 503:
        if time.monotonic() > until:
            sys.exit("graceful shutdown: SIGTERM did not end the readiness")
    gateway.process.send_signal(signal.SIGTERM)
    _, took = gateway.end()
    if took > 5:
        sys.exit(f"graceful shutdown: it took {took:.1f} s after a second SIGTERM")


def main() -> None:
    (program,) = sys.argv[1:]
    print(f"graceful shutdown: {under_load(program)}")
    in_a_hurry(program)


main()

"""curl as the client of the axum server behind the layers, over HTTP/1.1 and over HTTP/2 without TLS."""

import json
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager

from cases import between, case, run, same, until
from curl import H1, H2, curl

ADDRESSES = json.loads(sys.argv[1])
VERSIONS = ((H1, "1.1"), (H2, "2"))
# What curl calls a transfer that took longer than `--max-time`.
TIMED_OUT = 28
# And what it calls a body that breaks off, of either version.
BROKEN = (18, 92)
PROBLEM = "application/problem+json"


def url(server, path):
    return f"http://{ADDRESSES[server]}{path}"


def watch(path):
    return json.loads(curl(H1, url("watch", path)).body)


def in_flight(name):
    return watch("/in-flight")[name]


def key():
    return uuid.uuid4().hex


@contextmanager
def held(server):
    """A call that is under way on a server until the end of the block."""
    call = url(server, "/sleep/4000")
    process = subprocess.Popen(["curl", "-qsS", "--noproxy", "*", call], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until("the call is under way", lambda: in_flight(server) == 1)
        yield
    finally:
        process.kill()
        process.wait()
        until("its permit is free", lambda: in_flight(server) == 0)


def open_circuit():
    """Two failures in a row open the circuit for half a minute; it may be open already."""
    until("the circuit is open", lambda: curl(H1, url("circuit", "/fail")).status == 503)


def problem(answer, status, reason):
    same("status", answer.status, status)
    same("content-type", answer.headers.get("content-type"), PROBLEM)
    told = json.loads(answer.body)
    same("status in the body", told["status"], status)
    same("reason", told["reason"], reason)


@case("a plain GET")
def _():
    for flag, version in VERSIONS:
        answer = curl(flag, url("main", "/hello"))
        same("version", answer.version, version)
        same("status", answer.status, 200)
        same("body", answer.body, b"hello")
        same("content-length", answer.headers.get("content-length"), "5")


@case("a HEAD has the length and no body")
def _():
    for flag, _ in VERSIONS:
        answer = curl(flag, "--head", url("main", "/hello"))
        same("status", answer.status, 200)
        same("content-length", answer.headers.get("content-length"), "5")


@case("a POST with a body, small and large")
def _():
    for flag, _ in VERSIONS:
        for size in (0, 1, 1_000_000):
            data = bytes(number % 251 for number in range(size))
            answer = curl(flag, url("main", "/echo"), data=data)
            same("status", answer.status, 200)
            same("body is the same", answer.body == data, True)


@case("a POST in chunks of unknown length")
def _():
    for flag, _ in VERSIONS:
        answer = curl(flag, "-H", "transfer-encoding: chunked", url("main", "/count"), data=b"x" * 500_000)
        same("bytes", answer.body, b"500000")


@case("Expect: 100-continue is answered with a 100 where the call is let in")
def _():
    answer = curl(H1, "-H", "expect: 100-continue", url("main", "/count"), data=b"x" * 100_000)
    same("bytes", answer.body, b"100000")
    assert "HTTP/1.1 100 Continue" in answer.log, "no 100"
    with held("one"):
        answer = curl(H1, "-H", "expect: 100-continue", url("one", "/count"), data=b"x" * 100_000)
        same("status", answer.status, 503)
        assert "100 Continue" not in answer.log, "a rejected call was told to send its body"


@case("a full bulkhead answers 503 as problem+json")
def _():
    for flag, _ in VERSIONS:
        with held("one"):
            problem(curl(flag, url("one", "/hello")), 503, "full")
        same("status", curl(flag, url("one", "/hello")).status, 200)


@case("shed load answers 503 as problem+json")
def _():
    for flag, _ in VERSIONS:
        with held("shed"):
            problem(curl(flag, url("shed", "/hello")), 503, "shed")


@case("an open circuit answers 503 as problem+json, with Retry-After")
def _():
    open_circuit()
    for flag, _ in VERSIONS:
        answer = curl(flag, url("circuit", "/hello"))
        problem(answer, 503, "circuit_open")
        between("Retry-After", int(answer.headers.get("retry-after", "0")), 1, 33)


@case("a HEAD on a rejected call has its headers and no body")
def _():
    open_circuit()
    for flag, _ in VERSIONS:
        answer = curl(flag, "--head", url("circuit", "/hello"))
        same("status", answer.status, 503)
        same("body", answer.body.split(b"\r\n\r\n")[-1], b"")
        between("Retry-After", int(answer.headers.get("retry-after", "0")), 1, 33)


# Over HTTP/1.1 only: curl 7.88 cannot use a connection with `--http2-prior-knowledge` twice, whatever the server.
@case("a connection is good for more calls after a rejected one")
def _():
    open_circuit()
    there = url("circuit", "/hello")
    for first in (["--head"], ["-X", "GET"], ["-X", "POST"]):
        common = ["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code} %{num_connects};", H1, there]
        command = ["curl", "-q", *first, *common, "--next", *common]
        done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
        same(f"statuses and new connections after {first}", done.stdout, "503 1;503 0;")


@case("the server's own limit answers 504 as problem+json")
def _():
    for flag, _ in VERSIONS:
        call = key()
        answer = curl(flag, url("main", f"/sleep/5000?key={call}"))
        problem(answer, 504, "timed_out")
        between("seconds", answer.seconds, 1.0, 1.5)
        until("the handler is dropped", lambda: watch(f"/journal/{call}")[0]["dropped"], 1)


@case("x-request-timeout-ms of the caller answers 504 when it is over")
def _():
    for flag, _ in VERSIONS:
        call = key()
        answer = curl(flag, "-H", "x-request-timeout-ms: 100", url("main", f"/sleep/5000?key={call}"))
        problem(answer, 504, "timed_out")
        between("seconds", answer.seconds, 0.1, 0.4)
        until("the handler is dropped", lambda: watch(f"/journal/{call}")[0]["dropped"], 1)


@case("the handler knows what is left of the caller's limit, and at most of the server's own")
def _():
    for flag, _ in VERSIONS:
        for sent, least, most in (("400", 200, 400), ("60000", 700, 1000)):
            answer = curl(flag, "-H", f"x-request-timeout-ms: {sent}", url("main", "/context"))
            between(f"left of {sent}", json.loads(answer.body)["remaining_ms"], least, most)


@case("a call that comes too late is refused with 504 and the handler not called")
def _():
    for flag, _ in VERSIONS:
        call = key()
        answer = curl(flag, "-H", "x-request-timeout-ms: 0", url("main", f"/sleep/1?key={call}"))
        problem(answer, 504, "deadline_passed")
        same("calls", watch(f"/journal/{call}"), [])


@case("nonsense in x-request-timeout-ms breaks no call")
def _():
    for value in ("soon", "-1", "+5", "1.5", "1e3", "9" * 40, "0x10", "100, 200", "\xff"):
        for flag, _ in VERSIONS:
            answer = curl(flag, "-H", f"x-request-timeout-ms: {value}".encode("latin-1"), url("main", "/context"))
            same(f"status of {value!r}", answer.status, 200)
            between(f"left of {value!r}", json.loads(answer.body)["remaining_ms"], 700, 1000)


@case("a correlation ID is echoed, and known to the handler")
def _():
    for flag, _ in VERSIONS:
        answer = curl(flag, "-H", "x-correlation-id: order-4711", url("main", "/context"))
        same("echoed", answer.headers.get("x-correlation-id"), "order-4711")
        same("seen", json.loads(answer.body)["correlation_id"], "order-4711")


@case("a malformed correlation ID is replaced, and a missing one is made")
def _():
    for flag, _ in VERSIONS:
        for sent in (["-H", "x-correlation-id: not valid"], ["-H", "x-correlation-id: " + "x" * 129],
                     ["-H", "x-correlation-id: a", "-H", "x-correlation-id: b"], []):
            answer = curl(flag, *sent, url("main", "/context"))
            echoed = answer.headers["x-correlation-id"]
            same("version of the UUID", uuid.UUID(echoed).version, 7)
            same("seen", json.loads(answer.body)["correlation_id"], echoed)


@case("a rejected call has its correlation ID, too")
def _():
    open_circuit()
    for flag, _ in VERSIONS:
        answer = curl(flag, "-H", "x-correlation-id: order-4711", url("circuit", "/hello"))
        same("status", answer.status, 503)
        same("echoed", answer.headers.get("x-correlation-id"), "order-4711")


@case("a body that streams arrives in full")
def _():
    for flag, version in VERSIONS:
        answer = curl(flag, url("main", "/chunks/50/4000/2"))
        same("bytes", len(answer.body), 200_000)
        same("content-length", answer.headers.get("content-length"), None)
        same("transfer-encoding", answer.headers.get("transfer-encoding"), "chunked" if version == "1.1" else None)


@case("a body that streams holds its permit until its end")
def _():
    for flag, _ in VERSIONS:
        # It keeps what it gets for a while otherwise.
        command = ["curl", "-qsS", "--no-buffer", "--noproxy", "*", flag, url("one", "/chunks/20/100/50")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.read(100)
            same("in flight after the first chunk", in_flight("one"), 1)
            same("status", curl(flag, url("one", "/hello")).status, 503)
            process.stdout.read()
        until("the permit is free", lambda: in_flight("one") == 0, 1)


@case("a limit that covers the whole body breaks it off, and frees the permit")
def _():
    for flag, _ in VERSIONS:
        call = key()
        there = url("whole", f"/chunks/100/100/50?key={call}")
        answer = curl(flag, "-H", "x-request-timeout-ms: 300", there, expected_exit=BROKEN)
        same("status", answer.status, 200)
        between("bytes", len(answer.body), 100, 700)
        between("seconds", answer.seconds, 0.3, 0.7)
        until("the handler's body is dropped", lambda: watch(f"/journal/{call}")[0]["dropped"], 1)
        until("the permit is free", lambda: in_flight("whole") == 0, 1)


@case("a caller who gives up with --max-time frees the permit")
def _():
    for flag, _ in VERSIONS:
        call = key()
        answer = curl(flag, "--max-time", "0.3", url("one", f"/sleep/4000?key={call}"), expected_exit=(TIMED_OUT,))
        until("the permit is free", lambda: in_flight("one") == 0, 1)
        same("dropped", watch(f"/journal/{call}")[0]["dropped"], True)


@case("a caller who gives up in the middle of a body frees the permit")
def _():
    for flag, _ in VERSIONS:
        call = key()
        begun = time.monotonic()
        answer = curl(flag, "--max-time", "0.3", url("one", f"/chunks/100/100/50?key={call}"), expected_exit=(TIMED_OUT,))
        assert 0 < len(answer.body) < 10_000, f"{len(answer.body)} bytes"
        until("the handler's body is dropped", lambda: watch(f"/journal/{call}")[0]["dropped"], 1)
        until("the permit is free", lambda: in_flight("one") == 0, 1)
        between("seconds", time.monotonic() - begun, 0.3, 2.5)


# Slow by a pipe that is read slowly: curl's own `--limit-rate` is met or not as it pleases.
# The body is longer than all buffers on the way: the kernel alone may hold over 30 MB.
@case("a reader who is slow is served to the end")
def _():
    for flag, _ in VERSIONS:
        call = key()
        command = ["curl", "-qsS", "--noproxy", "*", flag, url("main", f"/chunks/600/100000/0?key={call}")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            got, ended = 0, []
            for _ in range(20):
                got += len(process.stdout.read(1_000_000))
                ended.append(watch(f"/journal/{call}")[0]["ended"])
                time.sleep(0.07)
            got += len(process.stdout.read())
        same("exit", process.returncode, 0)
        same("bytes", got, 60_000_000)
        same("the handler had to wait for the reader", ended[4], False)
        same("the handler came to its end", watch(f"/journal/{call}")[0]["ended"], True)


@case("a rejected gRPC call is answered in gRPC, in trailers only")
def _():
    open_circuit()
    for flag, _ in VERSIONS:
        # Without a body over HTTP/2: see `LOST`.
        data = b"\0\0\0\0\0" if flag == H1 else None
        grpc = ["-X", "POST", "-H", "content-type: application/grpc", "-H", "te: trailers"]
        answer = curl(flag, *grpc, url("circuit", "/echo"), data=data)
        same("status", answer.status, 200)
        same("content-type", answer.headers.get("content-type"), "application/grpc")
        same("grpc-status", answer.headers.get("grpc-status"), "14")
        same("grpc-message", answer.headers.get("grpc-message"), "the circuit is open")
        between("pushback", int(answer.headers.get("grpc-retry-pushback-ms", "0")), 1, 33_000)
        same("body", answer.body, b"")


run("curl -> axum")

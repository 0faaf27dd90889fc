"""grpcio as the client of the tonic server behind the layers."""

import json
import re
import sys
import threading
import time
import uuid

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

import echo_pb2 as pb
import echo_pb2_grpc as stubs
from cases import between, case, run, same, until
from curl import H2, LOST, STALL, curl

ADDRESSES = json.loads(sys.argv[1])
# Each channel a connection of its own, and no retries by grpcio.
OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
CHANNELS = {name: grpc.insecure_channel(address, options=OPTIONS) for name, address in ADDRESSES.items()}
MAIN, ONE, SHED, CIRCUIT = (stubs.EchoStub(CHANNELS[name]) for name in ("main", "one", "shed", "circuit"))
WATCH = stubs.WatchStub(CHANNELS["watch"])
CODES = {code.value[0]: code for code in grpc.StatusCode}
# The limits of the server itself, in milliseconds: `stacks.rs`.
OWN_LIMIT = 1000
TEXT = "naïve: 100 % of ½ ✓"


def plan(**fields):
    return pb.Call(**{"key": uuid.uuid4().hex, **fields})


def error_of(function, *arguments, **options):
    try:
        answer = function(*arguments, timeout=options.pop("timeout", 10), **options)
        list(answer) if hasattr(answer, "__iter__") else answer
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def trailing(error):
    return dict(error.trailing_metadata() or ())


def journal(key):
    return WATCH.Journal(pb.Key(key=key), timeout=5).entries


def in_flight(name):
    return WATCH.InFlight(pb.Empty(), timeout=5).calls[name]


def raw(name, call, *headers, method="Unary", expected_exit=(0,)):
    """A call by curl, which sends what grpcio would not. Without a limit of its own; and without a body if there is no call."""
    data = None
    if call is not None:
        message = call.SerializeToString()
        data = b"\0" + len(message).to_bytes(4, "big") + message
    arguments = [H2, "-X", "POST", f"http://{ADDRESSES[name]}/echo.Echo/{method}"]
    for header in ("content-type: application/grpc", "te: trailers", *headers):
        arguments += ["-H", header]
    return curl(*arguments, data=data, expected_exit=expected_exit)


class Held:
    """A call that is under way on a server until the end of the block."""

    def __init__(self, stub, name, **fields):
        self.plan, self.name = plan(sleep_ms=4000, **fields), name
        self.future = stub.Unary.future(self.plan, timeout=10)

    def __enter__(self):
        until("the call is under way", lambda: in_flight(self.name) == 1)
        return self

    def __exit__(self, *_):
        self.future.cancel()
        until("its permit is free", lambda: in_flight(self.name) == 0)


@case("every code from 0 to 16 arrives as it is")
def _():
    same("codes", sorted(CODES), list(range(17)))
    same("OK", MAIN.Unary.with_call(plan(), timeout=5)[1].code(), grpc.StatusCode.OK)
    for number in range(1, 17):
        same(f"code {number}", error_of(MAIN.Unary, plan(code=number)).code(), CODES[number])


@case("a code arrives also after messages of a stream, in real trailers")
def _():
    for number in range(1, 17):
        call = plan(code=number, messages=2, message=TEXT, trailing={"x-end": "here"})
        stream = MAIN.ServerStream(call, timeout=5)
        got = 0
        try:
            for _ in stream:
                got += 1
        except grpc.RpcError as error:
            same("code", error.code(), CODES[number])
            same("message", error.details(), TEXT)
            same("trailing", trailing(error).get("x-end"), "here")
        same("messages", got, 2)


@case("a message that is not ASCII, and has a percent sign")
def _():
    same("message", error_of(MAIN.Unary, plan(code=5, message=TEXT)).details(), TEXT)


@case("grpc-status-details-bin arrives, and means the same")
def _():
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=TEXT)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="BROKEN", domain="interop", metadata={"a": "ß"}))
    details = status.SerializeToString()
    error = error_of(MAIN.Unary, plan(code=9, message=TEXT, details=details))
    same("bytes", trailing(error)["grpc-status-details-bin"], details)
    same("status", rpc_status.from_call(error), status)


@case("custom metadata goes there and back, binary metadata, too")
def _():
    sent = (("x-custom", "a, b; c"), ("x-custom-bin", bytes(range(256))))
    reply, call = MAIN.Unary.with_call(plan(), metadata=sent, timeout=5)
    same("seen by the server", reply.metadata["x-custom"], "a, b; c")
    initial = dict(call.initial_metadata())
    same("sent back", initial["x-custom"], "a, b; c")
    same("sent back, binary", initial["x-custom-bin"], bytes(range(256)))


@case("trailing metadata of a failure arrives")
def _():
    error = error_of(MAIN.Unary, plan(code=3, trailing={"x-why": "because", "x-where": "there"}))
    same("x-why", trailing(error)["x-why"], "because")
    same("x-where", trailing(error)["x-where"], "there")


@case("the server knows what is left of the client's deadline")
def _():
    reply = MAIN.Unary(plan(), timeout=0.2)
    between("left of 200 ms", reply.remaining_ms, 1, 200)
    without = MAIN.Unary(plan())
    between("left of the server's own limit", without.remaining_ms, OWN_LIMIT - 500, OWN_LIMIT)
    longer = MAIN.Unary(plan(), timeout=60)
    between("left of a minute, which is too long", longer.remaining_ms, OWN_LIMIT - 500, OWN_LIMIT)


@case("a client's deadline of 200 ms ends a slow call with DEADLINE_EXCEEDED on both sides")
def _():
    call = plan(sleep_ms=5000)
    begun = time.monotonic()
    same("code", error_of(MAIN.Unary, call, timeout=0.2).code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    between("seconds", time.monotonic() - begun, 0.19, 0.6)
    until("the server has dropped it", lambda: journal(call.key)[0].dropped, 0.5)


@case("the server itself answers DEADLINE_EXCEEDED when grpc-timeout is over, not CANCELLED")
def _():
    # Before the caller's own timer: sooner than the same server answers a call that only sleeps for as long, however late this machine's timers are.
    for timeout in ("200m", "200000u"):
        fastest, slept = 60.0, 60.0
        for number in range(20):
            answer = raw("main", plan(sleep_ms=5000), f"grpc-timeout: {timeout}")
            same("grpc-status", answer.headers.get("grpc-status"), "4")
            fastest = min(fastest, answer.seconds)
            slept = min(slept, raw("main", plan(sleep_ms=200)).seconds)
            if number >= 2 and fastest < slept:
                break
        between("seconds of the fastest", fastest, 0.19, slept)


@case("a call without a deadline gets the server's own limit and DEADLINE_EXCEEDED")
def _():
    call = plan(sleep_ms=5000)
    begun = time.monotonic()
    error = error_of(MAIN.Unary, call, timeout=None)
    same("code", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    between("seconds", time.monotonic() - begun, OWN_LIMIT / 1000, OWN_LIMIT / 1000 + 0.5)
    until("the server has dropped it", lambda: journal(call.key)[0].dropped)


@case("a call that comes too late is refused and never begun")
def _():
    answer = raw("main", None, "grpc-timeout: 0m")
    same("grpc-status", answer.headers.get("grpc-status"), "4")
    call = plan()
    raw("main", call, "grpc-timeout: 0m", expected_exit=(0, LOST))
    same("calls begun", len(journal(call.key)), 0)


@case("nonsense in grpc-timeout breaks no call")
def _():
    for timeout in ("", "soon", "-1S", "1", "S", "123456789S", "1.5S", "99999999H", "1 S", "１S"):
        call = plan()
        answer = raw("main", call, f"grpc-timeout: {timeout}" if timeout else "grpc-timeout;")
        same(f"grpc-status of {timeout!r}", answer.headers.get("grpc-status"), "0")
        same(f"calls of {timeout!r}", len(journal(call.key)), 1)


@case("a full bulkhead answers UNAVAILABLE at once, and is free again")
def _():
    with Held(ONE, "one"):
        call = plan()
        begun = time.monotonic()
        error = error_of(ONE.Unary, call)
        same("code", error.code(), grpc.StatusCode.UNAVAILABLE)
        between("seconds", time.monotonic() - begun, 0, 0.3)
        same("calls begun", len(journal(call.key)), 0)
        same("pushback", trailing(error).get("grpc-retry-pushback-ms"), None)
    ONE.Unary(plan(), timeout=5)


@case("shed load answers UNAVAILABLE")
def _():
    with Held(SHED, "shed"):
        call = plan()
        same("code", error_of(SHED.Unary, call).code(), grpc.StatusCode.UNAVAILABLE)
        same("calls begun", len(journal(call.key)), 0)
    SHED.Unary(plan(), timeout=5)


@case("a rejection is one to every kind of call")
def _():
    with Held(ONE, "one"):
        for method, argument in (
            (ONE.Unary, plan()),
            (ONE.ServerStream, plan(messages=1)),
            (ONE.ClientStream, iter([plan()])),
            (ONE.Bidi, iter([plan()])),
        ):
            same("code", error_of(method, argument).code(), grpc.StatusCode.UNAVAILABLE)


@case("an open circuit answers UNAVAILABLE and says in grpc-retry-pushback-ms when to come back")
def _():
    for _ in range(2):
        error = error_of(CIRCUIT.Unary, plan(code=14, message="from the handler"))
        same("message", error.details(), "from the handler")
    call = plan()
    error = error_of(CIRCUIT.Unary, call)
    same("code", error.code(), grpc.StatusCode.UNAVAILABLE)
    same("calls begun", len(journal(call.key)), 0)
    # Half a minute, give or take a tenth.
    pushback = trailing(error).get("grpc-retry-pushback-ms", "none")
    assert re.fullmatch(r"\d+", pushback), f"pushback: {pushback!r}"
    between("pushback", int(pushback), 26_000, 33_000)


@case("a call that the client cancels gives back the server's permit")
def _():
    call = plan(sleep_ms=4000)
    future = ONE.Unary.future(call, timeout=10)
    until("the call is under way", lambda: in_flight("one") == 1)
    future.cancel()
    until("the permit is free", lambda: in_flight("one") == 0, 1)
    same("dropped", journal(call.key)[0].dropped, True)


@case("a stream that the client cancels half-way gives back the server's permit")
def _():
    call = plan(messages=1000, size=10, pause_ms=20)
    stream = ONE.ServerStream(call, timeout=10)
    next(stream)
    same("in flight half-way", in_flight("one"), 1)
    stream.cancel()
    until("it is dropped", lambda: journal(call.key)[0].dropped, 1)
    until("the permit is free", lambda: in_flight("one") == 0, 1)


@case("a server's stream holds its permit until its end")
def _():
    stream = ONE.ServerStream(plan(messages=4, size=10, pause_ms=100), timeout=10)
    next(stream)
    same("in flight after the first message", in_flight("one"), 1)
    same("code", error_of(ONE.Unary, plan()).code(), grpc.StatusCode.UNAVAILABLE)
    same("further messages", len(list(stream)), 3)
    until("the permit is free", lambda: in_flight("one") == 0, 1)


@case("a limit that somebody set ends a stream with DEADLINE_EXCEEDED")
def _():
    stream, messages, code = MAIN.ServerStream(plan(messages=8, size=10, pause_ms=200), timeout=10), 0, None
    try:
        for _ in stream:
            messages += 1
    except grpc.RpcError as error:
        code = error.code()
    same("code", code, grpc.StatusCode.DEADLINE_EXCEEDED)
    between("messages", messages, 1, 6)


@case("a limit that covers the whole body ends a stream with DEADLINE_EXCEEDED in real trailers, and frees the permit")
def _():
    for headers, seconds in ((("grpc-timeout: 300m",), 0.3), ((), OWN_LIMIT / 1000)):
        call = plan(messages=1000, size=10, pause_ms=40)
        answer = raw("whole", call, *headers, method="ServerStream")
        same("grpc-status", answer.headers.get("grpc-status"), "4")
        between("seconds", answer.seconds, seconds - 0.02, seconds + 0.5 + STALL)
        between("messages", answer.body.count(b"x" * 10), 2, seconds / 0.04)
        until("the server has dropped it", lambda: journal(call.key)[0].dropped, 1)
        until("the permit is free", lambda: in_flight("whole") == 0, 1)


@case("a stream of replies: one megabyte, and none")
def _():
    replies = list(MAIN.ServerStream(plan(messages=256, size=4096), timeout=10))
    same("messages", [reply.messages for reply in replies], list(range(1, 257)))
    same("bytes", sum(len(reply.payload) for reply in replies), 1 << 20)
    same("none", list(MAIN.ServerStream(plan(), timeout=5)), [])


@case("a stream of requests: one megabyte, and none")
def _():
    reply = MAIN.ClientStream((plan(payload=b"y" * 4096) for _ in range(256)), timeout=10)
    same("messages", reply.messages, 256)
    same("bytes", reply.bytes, 1 << 20)
    same("none", MAIN.ClientStream(iter(()), timeout=5).messages, 0)


@case("both at once: one megabyte, and none")
def _():
    replies = list(MAIN.Bidi((plan(payload=b"z" * 4096) for _ in range(256)), timeout=10))
    same("messages", len(replies), 256)
    same("bytes", sum(len(reply.payload) for reply in replies), 1 << 20)
    same("none", list(MAIN.Bidi(iter(()), timeout=5)), [])


@case("both at once: each reply comes before the next request is sent")
def _():
    may_send = threading.Semaphore(1)

    def calls():
        for number in range(5):
            assert may_send.acquire(timeout=5)
            yield plan(payload=bytes([number]))

    got = []
    for reply in MAIN.Bidi(calls(), timeout=10):
        got.append(reply.payload[0])
        may_send.release()
    same("replies", got, list(range(5)))


@case("a single message of one megabyte goes there and back")
def _():
    payload = bytes(range(256)) * 4096
    same("payload", MAIN.Unary(plan(payload=payload), timeout=10).payload, payload)


@case("a correlation ID is echoed in the response metadata, and known to the handler")
def _():
    sent = (("x-correlation-id", "order-4711"),)
    reply, call = MAIN.Unary.with_call(plan(), metadata=sent, timeout=5)
    same("echoed", dict(call.initial_metadata())["x-correlation-id"], "order-4711")
    same("seen", reply.metadata["x-correlation-id"], "order-4711")


@case("a malformed correlation ID is replaced on both sides, and a missing one is made")
def _():
    for sent in ("not valid!", "x" * 129, "<script>", None):
        metadata = (("x-correlation-id", sent),) if sent else ()
        reply, call = MAIN.Unary.with_call(plan(), metadata=metadata, timeout=5)
        echoed = dict(call.initial_metadata())["x-correlation-id"]
        same("version of the UUID", uuid.UUID(echoed).version, 7)
        same("seen", reply.metadata["x-correlation-id"], echoed)


@case("a rejected call has its correlation ID, too")
def _():
    with Held(ONE, "one"):
        error = error_of(ONE.Unary, plan(), metadata=(("x-correlation-id", "order-4711"),))
        # A response of trailers only: what is in it is metadata of either kind.
        found = {**dict(error.initial_metadata() or ()), **trailing(error)}
        same("echoed", found.get("x-correlation-id"), "order-4711")


run("grpcio -> tonic")

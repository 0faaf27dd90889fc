"""grpcio as the server of the tonic client behind the layers. It does what the plan in a call says."""

import json
import os
import threading
import time
from collections import defaultdict
from concurrent import futures

import grpc

import echo_pb2 as pb
import echo_pb2_grpc as stubs

# Nothing that these tests start lives longer, in seconds.
LONGEST = 300
CODES = {code.value[0]: code for code in grpc.StatusCode}
BEGAN = time.monotonic()


class Journal:
    """What the server saw of each call."""

    def __init__(self):
        self.lock = threading.Lock()
        self.entries = defaultdict(list)

    def begin(self, method, key, context):
        metadata = dict(context.invocation_metadata())
        entry = pb.Entry(
            method=method,
            remaining_ms=remaining(context),
            previous_attempts=metadata.get("grpc-previous-rpc-attempts", ""),
            correlation_id=metadata.get("x-correlation-id", ""),
            began_ms=int((time.monotonic() - BEGAN) * 1000),
        )
        with self.lock:
            self.entries[key].append(entry)
            number = len(self.entries[key])

        def over():
            with self.lock:
                entry.dropped = not entry.ended

        context.add_callback(over)
        return entry, number

    def end(self, entry):
        with self.lock:
            entry.ended = True

    def of(self, key):
        with self.lock:
            return pb.Entries(entries=self.entries[key])


JOURNAL = Journal()


def remaining(context):
    left = context.time_remaining()
    # Without a deadline it is none, or what is left until the end of time.
    return -1 if left is None or left > 1e6 else int(left * 1000)


def texts(context):
    return {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}


def answer_metadata(context):
    sent = [pair for pair in context.invocation_metadata() if pair[0] in ("x-custom", "x-custom-bin")]
    context.send_initial_metadata(sent)


def wait(millis, context):
    """Sleeps, but not for a caller who has gone."""
    ends = time.monotonic() + millis / 1000
    while time.monotonic() < ends and context.is_active():
        time.sleep(min(0.01, max(0, ends - time.monotonic())))
    return context.is_active()


def fail(plan, number, context):
    if plan.code == 0 or (plan.failures and number > plan.failures):
        return
    trailing = list(plan.trailing.items())
    if plan.pushback:
        trailing.append(("grpc-retry-pushback-ms", plan.pushback))
    if plan.details:
        trailing.append(("grpc-status-details-bin", plan.details))
    context.set_trailing_metadata(trailing)
    context.abort(CODES[plan.code], plan.message)


class Echo(stubs.EchoServicer):
    def Unary(self, plan, context):
        entry, number = JOURNAL.begin("unary", plan.key, context)
        if plan.die:
            os._exit(1)
        left = remaining(context)
        if not wait(plan.sleep_ms, context):
            return pb.Reply()
        JOURNAL.end(entry)
        fail(plan, number, context)
        answer_metadata(context)
        return pb.Reply(
            payload=plan.payload, messages=1, bytes=len(plan.payload), remaining_ms=left, metadata=texts(context)
        )

    def ServerStream(self, plan, context):
        entry, number = JOURNAL.begin("server_stream", plan.key, context)
        if not wait(plan.sleep_ms, context):
            return
        for sent in range(plan.messages):
            if not wait(plan.pause_ms, context):
                return
            yield pb.Reply(payload=b"x" * plan.size, messages=sent + 1)
            if plan.die and sent == 0:
                time.sleep(0.1)
                os._exit(1)
        JOURNAL.end(entry)
        fail(plan, number, context)

    def ClientStream(self, calls, context):
        plan, entry, number, messages, size = pb.Call(), None, 0, 0, 0
        for call in calls:
            if entry is None:
                plan = call
                entry, number = JOURNAL.begin("client_stream", plan.key, context)
            messages, size = messages + 1, size + len(call.payload)
        if entry is not None:
            JOURNAL.end(entry)
        fail(plan, number, context)
        return pb.Reply(messages=messages, bytes=size, metadata=texts(context))

    def Bidi(self, calls, context):
        plan, entry, number = pb.Call(), None, 0
        for call in calls:
            if entry is None:
                plan = call
                entry, number = JOURNAL.begin("bidi", plan.key, context)
            wait(plan.pause_ms, context)
            yield pb.Reply(messages=1, payload=call.payload, bytes=len(call.payload))
        if entry is not None:
            JOURNAL.end(entry)
        fail(plan, number, context)


class Watch(stubs.WatchServicer):
    def Journal(self, key, context):
        return JOURNAL.of(key.key)

    def InFlight(self, request, context):
        return pb.Loads()


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    stubs.add_EchoServicer_to_server(Echo(), server)
    stubs.add_WatchServicer_to_server(Watch(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    server.wait_for_termination(timeout=LONGEST)
    server.stop(None)


main()

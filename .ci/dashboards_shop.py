"""Checks that the files in dashboards/ show the shop: eight services that know nothing of them.

    python3 .ci/dashboards_shop.py target/debug/shop

A real Prometheus scrapes each service at its admin address, while orders are placed, `catalog` is slow, and `payments` is killed. What
the shop exports has to be in the schema, and what the dashboard and the rules ask for has to find it.
Needs `prometheus`. Everything listens on 127.0.0.1 only, and is stopped again.
"""

import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import dashboards
from dashboards import FOREIGN_LABELS, RULES, VARIABLES, Prometheus, Wrong, request, running, scraping, wait_for

LONGEST = 90
CALLERS = 8
PAUSE = 0.1
SERVICES = {"gateway", "notifications", "orders", "stock", "payments", "catalog", "users", "broker"}
# No service of the shop has a bulkhead: no call waits for a permit, and no limit is set unless a process is overloaded.
NO_QUEUE = "mainstay_queue_wait_seconds"
QUIET = dashboards.QUIET | {"mainstay_queue_depth", "mainstay_slow_calls_total", "mainstay_limit"}


def main() -> None:
    (shop,) = sys.argv[1:]
    if not shutil.which("prometheus"):
        sys.exit("dashboards: prometheus is missing. On Debian or Ubuntu: apt-get install -y --no-install-recommends prometheus")
    signal.signal(signal.SIGALRM, dashboards.too_long)
    signal.alarm(LONGEST)
    try:
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder), shop)
    except Wrong as wrong:
        sys.exit(f"dashboards: {wrong}")


def check(folder: Path, shop: str) -> None:
    with running(folder, "shop", [shop, "--port", "0", "--data", str(folder / "shop-data")]) as (_, out):
        wait_for("the shop", 30, lambda: "The shop is running" in out.read_text(encoding="utf-8"))
        rows = re.findall(r"^ +(\w+) +(127\S+) +(127\S+) +(\d+)$", out.read_text(encoding="utf-8"), re.M)
        addresses = {name: address for name, address, _, _ in rows}
        admins = {name: admin for name, _, admin, _ in rows}
        pids = {name: int(pid) for name, _, _, pid in rows}
        with scraping(folder, admins) as prometheus, orders(addresses["gateway"]):
            break_and_mend(prometheus, admins, pids)
            check_names(admins)
            check_data(prometheus)


class orders:
    """Callers who place orders and read products until the end of the block. What breaks is no concern of theirs."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.ended = threading.Event()
        self.numbers = itertools.count()
        self.callers = [threading.Thread(target=self.call, args=(caller,), daemon=True) for caller in range(CALLERS)]

    def __enter__(self) -> "orders":
        for caller in self.callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for caller in self.callers:
            caller.join()

    def call(self, caller: int) -> None:
        headers = {"x-api-key": f"key-u{caller:03}", "x-request-timeout-ms": "4000", "content-type": "application/json"}
        body = json.dumps({"items": [{"product": "filter-papers", "quantity": 1}]}).encode()
        while not self.ended.wait(PAUSE):
            key = {"idempotency-key": f"{caller}-{next(self.numbers)}"}
            for path, data in (("orders", body), ("products", None)):
                sent = urllib.request.Request(f"http://{self.gateway}/{path}", data=data, headers=headers | key)
                try:
                    dashboards.opener.open(sent, timeout=10).read()
                except OSError:
                    pass


def break_and_mend(prometheus: Prometheus, admins: dict[str, str], pids: dict[str, int]) -> None:
    def fault(service: str, **faults: object) -> None:
        data = json.dumps(faults).encode()
        sent = urllib.request.Request(f"http://{admins[service]}/fault", data=data, method="PUT", headers={"content-type": "application/json"})
        dashboards.opener.open(sent, timeout=10).close()

    def circuits(upstream: str, state: str) -> list:
        return prometheus.now(f'mainstay_circuit_breaker_state{{name="{upstream}",state="{state}"}} == 1')

    wait_for("the first scrapes", 15, lambda: prometheus.now("rate(mainstay_calls_total[5s]) > 0"))
    for upstream, breaks, mends in (
        ("catalog", lambda: fault("catalog", delay_ms=5_000), lambda: fault("catalog")),
        ("payments", lambda: os.kill(pids["payments"], signal.SIGKILL), lambda: None),
    ):
        breaks()
        wait_for(f"a circuit of {upstream} that opens", 20, lambda: not circuits(upstream, "closed"))
        mends()
        wait_for(f"a circuit of {upstream} that closes", 20, lambda: circuits(upstream, "closed"))


def check_names(admins: dict[str, str]) -> None:
    """All that is exported is in the schema, with these labels and no others."""
    schema = dashboards.documented_metrics()
    found = set()
    for service, admin in admins.items():
        scrape = request(f"http://{admin}/metrics")
        kinds = dict(re.findall(r"^# TYPE (mainstay_\w+) (\w+)$", scrape, re.M))
        if not kinds:
            raise Wrong(f"{service} exports no metrics of mainstay")
        for name, kind in kinds.items():
            expected = schema.get(name, (None, set()))
            if kind != expected[0]:
                raise Wrong(f"{service}: {name} is a {kind}, in the schema {expected[0]}")
            for labels in re.findall(rf"^{name}(?:_bucket|_sum|_count)?{{(.*)}} ", scrape, re.M):
                if unknown := set(re.findall(r'(\w+)="', labels)) - expected[1] - FOREIGN_LABELS:
                    raise Wrong(f"{service}: {name} has the labels {sorted(unknown)}, which are not in the schema")
        found |= set(kinds)
    if missing := set(schema) - found:
        raise Wrong(f"no service exports {sorted(missing)}")


def check_data(prometheus: Prometheus) -> None:
    """What the dashboard and the rules ask for is there, and no line stays at 0 but those of QUIET."""
    queries = dashboards.dashboard_queries()
    rules = [rule for file in RULES for rule in dashboards.rule_expressions(file)]
    wrong = []
    for where, query in queries:
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        values = prometheus.values(query)
        if not any(values) and not (values and any(name in query for name in QUIET)) and NO_QUEUE not in query:
            wrong.append(f"{'nothing but 0' if values else 'no data'}: {where}: {query}")
    wrong += [f"no data: {name}: {query}" for name, query in rules if NO_QUEUE not in query and not prometheus.values(query)]
    for service in sorted(SERVICES):
        if not any(prometheus.values(f'sum by (layer) (rate(mainstay_calls_total{{job="{service}"}}[10s]))')):
            wrong.append(f"no calls of {service}")
    for caller, upstream in (("gateway", "catalog"), ("orders", "catalog"), ("orders", "payments")):
        opened = f'mainstay_circuit_breaker_transitions_total{{job="{caller}",name="{upstream}",to="open"}}'
        if not any(prometheus.values(opened)):
            wrong.append(f"no circuit of {caller} to {upstream} has opened")
    if wrong:
        raise Wrong("\n".join(wrong))
    print(f"dashboards: of the shop, {len(SERVICES)} services are seen by {len(queries)} queries and {len(rules)} rules")


if __name__ == "__main__":
    main()

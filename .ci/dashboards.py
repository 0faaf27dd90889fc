"""Checks what is in dashboards/, against a real Prometheus that scrapes the gateway example while its upstreams are broken.

    python3 .ci/dashboards.py target/debug/gateway

Every query of the dashboard, every recording rule and every alert has to find data, and every metric of the schema a place on the dashboard.
Needs `prometheus` and `promtool`. Everything listens on 127.0.0.1 only, and is stopped again.
"""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "dashboards"
RULES = ["recording.yml", "alerts.yml"]
# All of it, in seconds.
LONGEST = 60
LOAD = 60
# What Prometheus adds, and what a histogram has.
FOREIGN_LABELS = {"job", "instance", "le"}
VARIABLES = {"$__rate_interval": "10s", "$job": ".*", "$layer": ".+", "$name": ".+"}
UPSTREAMS = ("catalog", "pricing")
# What stays 0 in the gateway example, where no circuit is in shadow mode and no call waits for a permit.
QUIET = {"mainstay_would_reject_total", "mainstay_given_up_total"}

# Nothing here goes through anybody's proxy.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Wrong(Exception):
    pass


def main() -> None:
    (gateway,) = sys.argv[1:]
    if missing := [tool for tool in ("prometheus", "promtool") if not shutil.which(tool)]:
        sys.exit(f"dashboards: missing: {missing}. On Debian or Ubuntu: apt-get install -y --no-install-recommends prometheus")
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONGEST)
    began = time.monotonic()
    try:
        schema = documented_metrics()
        queries = dashboard_queries()
        rules = [rule for file in RULES for rule in rule_expressions(file)]
        check_names(schema, queries, rules)
        promtool("check", "rules", *RULES)
        promtool("test", "rules", "alerts.test.yml")
        with tempfile.TemporaryDirectory() as folder:
            check_live(Path(folder), gateway, schema, queries, rules)
    except Wrong as wrong:
        sys.exit(f"dashboards: {wrong}")
    print(f"dashboards: {len(queries)} queries and {len(rules)} rules find data; {time.monotonic() - began:.0f} s")


def too_long(*_: object) -> None:
    raise Wrong("not done in time")


# --- what is written -----------------------------------------------------------------------------------------------


def documented_metrics() -> dict[str, tuple[str, set[str]]]:
    """The table in src/observe/metrics.rs: each metric, its kind and its labels."""
    metrics = {}
    for line in (ROOT / "src/observe/metrics.rs").read_text(encoding="utf-8").splitlines():
        if line.startswith("//! | `mainstay_"):
            name, kind, _layers, labels = [cell.strip() for cell in line.removeprefix("//! |").split("|")[:4]]
            own = set(re.findall(r"`(\w+)`", labels.split(":")[0]))
            metrics[name.strip("`")] = (kind, own | {"layer", "name"})
    if not metrics:
        raise Wrong("no table of metrics in src/observe/metrics.rs")
    return metrics


def dashboard_queries() -> list[tuple[str, str]]:
    """Every query of the dashboard: where it is, and what it asks."""
    dashboard = json.loads((DASHBOARDS / "mainstay.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        raise Wrong("two panels have the same id")
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if taken & cells or at["x"] + at["w"] > 24:
            raise Wrong(f"panel {panel['title']!r} has no room")
        taken |= cells
    queries = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    defined = {f"${variable['name']}" for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\w+", " ".join(query for _, query in queries)))
    if unknown := used - defined - set(VARIABLES):
        raise Wrong(f"variables that the dashboard does not define: {sorted(unknown)}")
    for variable in dashboard["templating"]["list"]:
        if values := re.match(r"label_values\((.*), (\w+)\)$", variable.get("definition", "")):
            queries.append((f"variable {variable['name']}", f"count by ({values[2]}) ({values[1]})"))
    return queries


def rule_expressions(file: str) -> list[tuple[str, str]]:
    """Every expression of a file of rules; of an alert what it compares, without what it compares it to, for most find nothing most of the time."""
    found = []
    lines = (DASHBOARDS / file).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if named := re.match(r" *- (record|alert): (\S+)$", line):
            kind, name = named.groups()
        elif text := re.match(r"( *)expr: (.*)$", line):
            indent, expression = text.groups()
            if expression == "|":
                rest = lines[number + 1 :]
                end = next((n for n, more in enumerate(rest) if not more.startswith(indent + "  ")), len(rest))
                expression = "\n".join(rest[:end])
            parts = re.split(r"\n\s*and on \(.*\)\n", expression) if kind == "alert" else [expression]
            for part in parts:
                found.append((name, re.sub(r" [<>] [\d.]+\s*$", "", part) if kind == "alert" else part))
    return found


def check_names(schema: dict, queries: list, rules: list) -> None:
    labels = set().union(*(own for _, own in schema.values())) | FOREIGN_LABELS
    recorded = {name for name, _ in rules if ":" in name}
    shown = set()
    for where, query in queries + rules:
        text = re.sub(r'"[^"]*"', '""', query)
        for name in re.findall(r"[\w:]*mainstay_[\w:]+", text):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            is_histogram = schema.get(base, ("",))[0] == "histogram"
            if ":" in name:
                if name not in recorded:
                    raise Wrong(f"{where} asks for {name}, which nothing records")
            elif not (is_histogram if base != name else name in schema):
                raise Wrong(f"{where} asks for {name}, which is not in the schema")
            elif (where, query) in queries:
                shown.add(base)
        used = {label.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", text) for label in group.split(",")}
        used |= set(re.findall(r"(\w+)\s*!?=~?\s*\"\"", text))
        if unknown := used - labels:
            raise Wrong(f"{where} uses labels that are not in the schema: {sorted(unknown)}")
    if missing := set(schema) - shown:
        raise Wrong(f"not on the dashboard: {sorted(missing)}")
    print(f"dashboards: {len(shown)} metrics, all of the schema")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=DASHBOARDS, capture_output=True, text=True, check=False)
    print(done.stdout.strip())
    if done.returncode:
        raise Wrong(f"promtool {' '.join(arguments)}:\n{done.stderr}")


# --- what happens --------------------------------------------------------------------------------------------------


def request(url: str, method: str = "GET", **form: object) -> str:
    data = urllib.parse.urlencode(form).encode() if form else None
    with opener.open(urllib.request.Request(url, data=data, method=method), timeout=10) as response:
        return response.read().decode()


def wait_for(what: str, seconds: float, ready):
    """What `ready` returns, once that is something. It may fail meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if answer := ready():
                return answer
        time.sleep(0.2)
    raise Wrong(f"{what}: not within {seconds:.0f} s")


@contextlib.contextmanager
def running(folder: Path, name: str, command: list):
    """A process whose output goes to a file. Whatever happens, it ends."""
    out = folder / f"{name}.out"
    with out.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield process, out
    except BaseException:
        print(f"--- the last of {name}", *out.read_text(encoding="utf-8").splitlines()[-20:], sep="\n", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url
        self.began = time.time()

    def ask(self, path: str, **form: object) -> list:
        try:
            return json.loads(request(f"{self.url}/api/v1/{path}", "POST", **form))["data"]["result"]
        except urllib.error.HTTPError as error:
            raise Wrong(f"{form['query']}\n{error.read().decode()}") from error

    def now(self, query: str) -> list:
        return self.ask("query", query=query)

    def values(self, query: str) -> list[float]:
        """All that it has come to since the beginning, second by second; not what is no number."""
        # The last step is now.
        now = time.time()
        series = self.ask("query_range", query=query, start=now - int(now - self.began), end=now, step=1)
        values = [float(value) for one in series for _, value in one["values"]]
        return [value for value in values if value == value]


def check_live(folder: Path, gateway: str, schema: dict, queries: list, rules: list) -> None:
    with running(folder, "gateway", [gateway, "--port", "0", "--load", str(LOAD)]) as (process, out):
        told = wait_for("the gateway", 10, lambda: re.search(r"gateway +(http://\S+)\n", out.read_text(encoding="utf-8")))
        url = told[1]
        check_busy_port(gateway, url)
        with scraping(folder, {"gateway": url.removeprefix("http://")}) as prometheus:
            break_and_mend(prometheus, url)
            check_data(prometheus, url, schema, queries, rules)
        check_end(process, url)


def check_busy_port(gateway: str, url: str) -> None:
    port = url.rsplit(":", 1)[1]
    second = subprocess.run([gateway, "--port", port], capture_output=True, text=True, timeout=10, check=False)
    if second.returncode not in (1, 2) or f"port {port}" not in second.stderr or "--port" not in second.stderr:
        raise Wrong(f"a busy port: {second.returncode}, {second.stderr!r}")


@contextlib.contextmanager
def scraping(folder: Path, jobs: dict[str, str]):
    """A Prometheus that scrapes one address for each job."""
    config, port = folder / "prometheus.yml", free_port()
    files = "".join(f"  - {json.dumps(str(DASHBOARDS / file))}\n" for file in RULES)
    scraped = "".join(f"  - {{ job_name: {job}, static_configs: [{{ targets: ['{target}'] }}] }}\n" for job, target in jobs.items())
    config.write_text(
        "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n"
        f"rule_files:\n{files}"
        f"scrape_configs:\n{scraped}",
        encoding="utf-8",
    )
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with running(folder, "prometheus", command):
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        # While it starts it refuses queries, which is not an answer to one.
        wait_for("prometheus", 15, lambda: request(f"{prometheus.url}/-/ready"))
        yield prometheus


def break_and_mend(prometheus: Prometheus, gateway: str) -> None:
    """An outage in which everything happens that there is a metric for."""

    def fault(upstream: str, mode: str) -> None:
        request(f"{gateway}/fault/{upstream}?mode={mode}", "POST")

    def circuits(state: str) -> list:
        return prometheus.now(f'mainstay_circuit_breaker_state{{state="{state}"}} == 1')

    wait_for("the first scrapes", 15, lambda: prometheus.now("rate(mainstay_calls_total[5s]) > 0"))
    # Calls that hang run out of time, and those behind them wait for a permit.
    fault("catalog", "error")
    fault("pricing", "hang")
    wait_for("circuits that open", 10, lambda: len(circuits("open")) == len(UPSTREAMS))
    opened = 'increase(mainstay_circuit_breaker_transitions_total{name="catalog",from="closed",to="open"}[10s]) > 0'
    wait_for("a first change that is counted", 5, lambda: prometheus.now(opened))
    for upstream in UPSTREAMS:
        fault(upstream, "ok")
    wait_for("circuits that close", 15, lambda: len(circuits("closed")) == len(UPSTREAMS))


def check_data(prometheus: Prometheus, gateway: str, schema: dict, queries: list, rules: list) -> None:
    scraped = dict(re.findall(r"^# TYPE (mainstay_\w+) (\w+)$", request(f"{gateway}/metrics"), re.M))
    expected = {name: kind for name, (kind, _) in schema.items()}
    if scraped != expected:
        raise Wrong(f"a scrape has {scraped}, the schema {expected}")
    wrong = []
    for where, query in queries:
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        values = prometheus.values(query)
        # A line that never left the zero may as well ask for the wrong thing.
        if not any(values) and not (values and any(name in query for name in QUIET)):
            wrong.append(f"{'nothing but 0' if values else 'no data'}: {where}: {query}")
    wrong += [f"no data: {name}: {query}" for name, query in rules if not prometheus.values(query)]
    wrong += [f"not recorded: {name}" for name, _ in rules if ":" in name and not prometheus.values(name)]
    if not prometheus.values('ALERTS{alertname="MainstayCircuitOpen"}'):
        wrong.append("MainstayCircuitOpen was not even pending in the outage")
    if wrong:
        raise Wrong("\n".join(wrong))


def check_end(process: subprocess.Popen, gateway: str) -> None:
    """What is in flight when the end comes is answered."""
    request(f"{gateway}/fault/pricing?mode=hang", "POST")
    answers = []
    call = threading.Thread(target=lambda: answers.append(request(f"{gateway}/products/lamp")), daemon=True)
    call.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(timeout=10)
    except subprocess.TimeoutExpired as error:
        raise Wrong("the gateway goes on after SIGINT") from error
    call.join(timeout=5)
    if code != 0:
        raise Wrong(f"the gateway ended with {code}")
    if not answers or "no_price_because" not in answers[0]:
        raise Wrong(f"a request that was in flight at the end: {answers}")


if __name__ == "__main__":
    main()

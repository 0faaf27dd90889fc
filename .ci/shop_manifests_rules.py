"""What no schema knows: whether the files that run the shop agree with each other and with the program.

Each rule returns its problems, as sentences.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

SHOP = Path("examples/shop")
WORKFLOW = Path(".github/workflows/shop.yml")
# It is only for a machine without Redis.
EMBEDDED = "broker"
# Seconds between the last call that may be in flight and the end of the process.
MARGIN = 5
NUMBER = r"\d+(\.\d+)?"


# --- the program -----------------------------------------------------------------------------------------------------


@dataclass
class Program:
    """What the sources say: the services, their variables, and how long they take to end."""

    services: list[str]
    # Name -> (type, default).
    variables: dict[str, tuple[str, str | None]]
    commands: set[str]
    paths: set[str]
    grace: float


def program(root: Path) -> Program:
    config = (root / SHOP / "src/config.rs").read_text(encoding="utf-8")
    names = dict(re.findall(r'Self::(\w+) => "(\w+)"', config))
    (every,) = re.findall(r"pub const ALL: .*?= \[(.*?)\];", config, re.DOTALL)
    variables = {}
    for options, kind in re.findall(r"#\[arg\(([^\]]*)\)\]\s*pub \w+: ([\w<>]+),", config):
        if found := re.search(r'env = "(\w+)"', options):
            default = re.search(r'default_value(?:_t)? = (?:"([^"]*)"|([\d.]+))', options)
            variables[found[1]] = (kind, default and (default[1] or default[2]))
    main = (root / SHOP / "src/main.rs").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^enum Command \{\n(.*?)^\}", main, re.DOTALL | re.MULTILINE)
    process = (root / SHOP / "src/process/admin.rs").read_text(encoding="utf-8")
    builder = (root / "src/shutdown/builder.rs").read_text(encoding="utf-8")
    grace = re.search(r"\.grace\(Duration::from_secs\((\d+)\)\)", process)
    grace = grace or re.search(r"const GRACE: Duration = Duration::from_secs\((\d+)\)", builder)
    assert len(names) > 1 and len(variables) > 1 and grace, "the sources have changed: this function reads them no more"
    return Program(
        services=[names[variant] for variant in re.findall(r"Self::(\w+)", every) if names[variant] != EMBEDDED],
        variables=variables,
        commands={variant.lower() for variant in re.findall(r"^    ([A-Z]\w+)\b", commands, re.MULTILINE)},
        paths=set(re.findall(r'\.route\("(/\w+)"', process)),
        grace=float(grace[1]),
    )


def command_problems(where: str, found: Program, words: list[str]) -> list[str]:
    if words[0] not in found.commands:
        return [f"{where}: shop has no command {words[0]}"]
    if words[0] == "service" and words[1] not in found.services:
        return [f"{where}: shop has no service {words[1]}"]
    return []


# --- what Compose and Kubernetes have in common ----------------------------------------------------------------------


@dataclass
class Running:
    """A service of the shop, as a platform would start it."""

    where: str
    command: list[str]
    environment: dict[str, str]
    mounts: set[str]
    # Seconds from SIGTERM to SIGKILL.
    patience: float


@dataclass
class Platform:
    running: dict[str, Running] = field(default_factory=dict)
    # Host -> port that others call -> port on which the process listens.
    hosts: dict[str, dict[int, int]] = field(default_factory=dict)
    # User, password, host and name of the database.
    database: tuple[str, str, str, str] = ("", "", "", "")


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def drain(environment: dict[str, str]) -> float:
    """0 if it is missing or no number, which is a problem of its own."""
    value = environment.get("SHOP_DRAIN", "")
    return float(value) if re.fullmatch(NUMBER, value) else 0.0


def platform_problems(found: Program, platform: Platform) -> Iterator[str]:
    if absent := set(found.services) - set(platform.running):
        yield f"these services of Name::ALL are missing: {sorted(absent)}"
    for name, running in platform.running.items():
        where = running.where
        yield from command_problems(where, found, running.command)
        if running.command != ["service", name]:
            yield f"{where}: runs `{' '.join(running.command)}`, not `service {name}`"
        yield from environment_problems(found, platform, name, running)
        needs_file = name != "gateway" and "SHOP_DATABASE" not in running.environment
        if needs_file != (running.environment.get("SHOP_DATA") in running.mounts):
            yield f"{where}: {'no volume' if needs_file else 'a volume without use'} at SHOP_DATA"
        needed = drain(running.environment) + found.grace + MARGIN
        if running.patience < needed:
            yield f"{where}: killed {running.patience:g} s after SIGTERM, but drain + grace + margin is {needed:g} s"


def environment_problems(found: Program, platform: Platform, name: str, running: Running) -> Iterator[str]:
    ours = {key: value for key, value in running.environment.items() if key.startswith("SHOP_")}
    for key in ours.keys() - found.variables.keys():
        yield f"{running.where}: {key} is not in config.rs"
    if "SHOP_FAULTS" in ours:
        yield f"{running.where}: SHOP_FAULTS lets anybody break the service"
    if ("SHOP_DATABASE" in ours) != (name == "orders"):
        yield f"{running.where}: SHOP_DATABASE is for orders, and only for it"
    for key, (kind, default) in found.variables.items():
        value = ours.get(key)
        if value is None:
            # A loopback address or a relative folder is of no use in a container; the drain time is half of a grace time.
            if default and ("127.0.0.1" in default or key in ("SHOP_DATA", "SHOP_DRAIN")):
                yield f"{running.where}: {key} is not set, and {default} is not for a container"
        elif kind == "SocketAddr" and not re.fullmatch(r"0\.0\.0\.0:\d+", value):
            yield f"{running.where}: {key} = {value} is refused: must be 0.0.0.0:PORT"
        elif kind == "f64" and not re.fullmatch(NUMBER, value):
            yield f"{running.where}: {key} = {value} is refused: must be a number"
    for key, service, address, listen in addresses(found, ours):
        host, _, number = address.rpartition(":")
        other = platform.running.get(service)
        expected = port(other.environment[listen]) if other and listen else None
        if host not in platform.hosts or not number.isdecimal():
            yield f"{running.where}: {key}: {address} is no address here"
        elif int(number) not in platform.hosts[host]:
            yield f"{running.where}: {key}: {host} has no port {number}"
        elif listen and (host != service or platform.hosts[host][int(number)] != expected):
            yield f"{running.where}: {key}: {address} is not {listen} of {service}"
    if url := ours.get("SHOP_DATABASE"):
        parts = urlsplit(url)
        if (parts.username, parts.password, parts.hostname, parts.path[1:]) != platform.database:
            yield f"{running.where}: SHOP_DATABASE does not match the user, password, host and name of postgres"


def addresses(found: Program, ours: dict[str, str]) -> Iterator[tuple[str, str, str, str | None]]:
    """Variable, service, HOST:PORT, and the variable that says where that service listens."""
    for service in found.services:
        if value := ours.get(f"SHOP_{service.upper()}"):
            yield f"SHOP_{service.upper()}", service, value, "SHOP_LISTEN"
    told = dict(part.partition("=")[::2] for part in ours.get("SHOP_ADMINS", "").split(","))
    for service in set(found.services) - {"gateway"} | told.keys():
        yield "SHOP_ADMINS", service, told.get(service, f"{service} is missing"), "SHOP_ADMIN"
    for key in ("SHOP_BROKER", "SHOP_DATABASE"):
        if value := ours.get(key):
            yield key, key, urlsplit(value).netloc.rpartition("@")[2], None


# --- Dockerfile ------------------------------------------------------------------------------------------------------


def image(root: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The instructions of the last stage, and its variables."""
    text = (root / SHOP / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    instructions = [tuple(line.split(None, 1)) for line in lines if line.strip()]
    last = max(number for number, (name, _) in enumerate(instructions) if name == "FROM")
    stage = instructions[last:]
    return stage, {key: value for name, rest in stage if name == "ENV" for key, value in re.findall(r"(\w+)=(\S+)", rest)}


def health_problems(where: str, found: Program, words: list[str], environment: dict[str, str]) -> Iterator[str]:
    if words[0] != "/usr/local/bin/shop":
        yield f"{where}: the health check needs {words[0]}, which the image does not have"
        return
    yield from command_problems(where, found, words[1:])
    url = urlsplit(words[-1])
    if url.port != port(environment["SHOP_ADMIN"]) or url.path != "/readyz" or url.path not in found.paths:
        yield f"{where}: the health check asks {words[-1]}, not /readyz of SHOP_ADMIN"


def dockerfile(root: Path) -> list[str]:
    found = program(root)
    stage, environment = image(root)
    said = dict(stage)
    problems = []
    if not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", said.get("USER", "")):
        problems.append("Dockerfile: USER has to be a number over 0")
    if said.get("ENTRYPOINT") != '["/usr/local/bin/shop"]':
        problems.append("Dockerfile: the entry point has to be the program itself: a shell would get the SIGTERM")
    if set(said.get("EXPOSE", "").split()) != {str(port(environment[key])) for key in ("SHOP_LISTEN", "SHOP_ADMIN")}:
        problems.append("Dockerfile: EXPOSE is not SHOP_LISTEN and SHOP_ADMIN")
    if unknown := environment.keys() - found.variables.keys():
        problems.append(f"Dockerfile: not in config.rs: {sorted(unknown)}")
    check = said.get("HEALTHCHECK", "").partition("CMD")[2]
    problems += health_problems("Dockerfile", found, re.findall(r'"([^"]*)"', check) or [check], environment)
    text = (root / SHOP / "Dockerfile").read_text(encoding="utf-8")
    compiler = re.search(r"^FROM rust:(\d+)\.(\d+)", text, re.MULTILINE)
    oldest = re.search(r'^rust-version = "(\d+)\.(\d+)"', (root / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if not compiler or tuple(map(int, compiler.groups())) < tuple(map(int, oldest.groups())):
        problems.append(f"Dockerfile: the compiler is older than the rust-version {oldest[0]}")
    return problems


# --- Compose ---------------------------------------------------------------------------------------------------------


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return float(number) * {"s": 1, "m": 60}[unit]


def filled(text: str) -> str:
    """With the defaults of what the user may set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def compose(root: Path) -> list[str]:
    found = program(root)
    file = yaml.safe_load((root / SHOP / "compose.yaml").read_text(encoding="utf-8"))
    services, problems = file["services"], []
    platform = Platform(hosts={"redis": {6379: 6379}, "postgres": {5432: 5432}})
    for name, service in services.items():
        where = f"compose.yaml: {name}"
        for needed in ("healthcheck", "restart", "stop_grace_period", "mem_limit", "logging"):
            if needed not in service:
                problems.append(f"{where}: no {needed}")
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] != "service_healthy" or other not in services:
                problems.append(f"{where}: depends on {other}, but does not wait until it is healthy")
        mounts = {volume.split(":")[0]: volume.split(":")[1] for volume in service.get("volumes", [])}
        if undeclared := mounts.keys() - file["volumes"].keys():
            problems.append(f"{where}: not among the volumes: {sorted(undeclared)}")
        variables = {key: filled(value) for key, value in service.get("environment", {}).items()}
        if "build" not in service:
            continue
        variables = image(root)[1] | variables
        platform.hosts[name] = {port(variables[key]): port(variables[key]) for key in ("SHOP_LISTEN", "SHOP_ADMIN")}
        platform.running[name] = Running(
            where, service["command"], variables, set(mounts.values()), seconds(service["stop_grace_period"])
        )
        if (root / SHOP / service["build"]["context"] / service["build"]["dockerfile"]).resolve() != (
            root / SHOP / "Dockerfile"
        ).resolve():
            problems.append(f"{where}: builds another Dockerfile")
        for published in service.get("ports", []):
            if name != "gateway" or not re.fullmatch(rf"127\.0\.0\.1:\d+:{port(variables['SHOP_LISTEN'])}", published):
                problems.append(f"{where}: publishes {published}")
        kind, *words = service["healthcheck"]["test"]
        if kind != "CMD":
            problems.append(f"{where}: the health check needs a shell, which the image does not have")
        problems += health_problems(where, found, words, variables)
    if owners := [name for name in file["volumes"] if sum(f"{name}:" in str(s.get("volumes")) for s in services.values()) != 1]:
        problems.append(f"compose.yaml: volumes with other than one owner: {owners}")
    postgres = {key: filled(value) for key, value in services["postgres"]["environment"].items()}
    platform.database = (postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"], "postgres", postgres["POSTGRES_DB"])
    return problems + list(platform_problems(found, platform))


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def documents(folder: Path) -> Iterator[tuple[str, dict]]:
    for file in sorted(folder.glob("*.yaml")):
        if file.name != "kustomization.yaml":
            for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                yield file.name, document


def kubernetes(root: Path) -> list[str]:
    from shop_manifests_kubernetes import cluster_problems

    return list(cluster_problems(root))


# --- the workflow ----------------------------------------------------------------------------------------------------


def workflow(root: Path) -> list[str]:
    found, problems = program(root), []
    jobs = yaml.safe_load((root / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
    scripts = [(f"shop.yml: {job}", step["run"]) for job, body in jobs.items() for step in body["steps"] if "run" in step]
    for where, script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            problems.append(f"{where}: {done.stderr.strip()}")
        for words in re.findall(r"target/release/shop (\w+)", script):
            problems += command_problems(where, found, [words])
        for path in re.findall(r"examples/shop/[\w./-]+|\.ci/\w+", script):
            if not (root / path).exists():
                problems.append(f"{where}: there is no {path}")
    deploy = jobs["deploy"]
    if deploy["env"]["DIGEST"] != "${{ needs.image.outputs.digest }}" or "@$DIGEST" not in str(deploy["steps"]):
        problems.append("shop.yml: deploy: not by the digest of the image that was pushed")
    if set(jobs["image"]["needs"]) != {"test", "drill"}:
        problems.append("shop.yml: image: has to wait for the tests and the drill")
    if {row["broker"] for row in jobs["drill"]["strategy"]["matrix"]["include"]} != {"embedded", "redis"}:
        problems.append("shop.yml: drill: both brokers are to be drilled")
    return problems

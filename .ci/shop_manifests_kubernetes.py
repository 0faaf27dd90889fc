"""The rules for the manifests in examples/shop/k8s. See shop_manifests_rules.py."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from shop_manifests_rules import SHOP, Platform, Running, documents, drain, image, platform_problems, port, program

PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


class Cluster:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: dict[tuple[str, str], tuple[str, dict]] = {}
        for file, document in documents(root / SHOP / "k8s"):
            self.objects[document["kind"], document["metadata"]["name"]] = (file, document)

    def all(self, *kinds: str) -> Iterator[tuple[str, dict]]:
        for (kind, name), (file, document) in self.objects.items():
            if kind in kinds:
                yield f"{file}: {kind} {name}", document

    def data(self, kind: str, name: str) -> dict[str, str]:
        _, document = self.objects.get((kind, name), (None, {}))
        return document.get("data", {}) | document.get("stringData", {})


def cluster_problems(root: Path) -> Iterator[str]:
    found, cluster = program(root), Cluster(root)
    yield from kustomization_problems(root, cluster)
    platform = Platform()
    for where, document in cluster.all("Deployment", "StatefulSet"):
        name, spec = document["metadata"]["name"], document["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        variables = yield from variables_of(where, cluster, container)
        ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
        yield from service_problems(where, cluster, document, ports, platform)
        yield from budget_problems(where, cluster, document)
        yield from pod_problems(where, pod, container)
        claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
        volumes = claims | {volume["name"] for volume in pod.get("volumes", [])}
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
        if mounts.keys() != volumes:
            yield f"{where}: mounts {sorted(mounts)}, but has {sorted(volumes)}"
        if claims and (document["kind"], spec["replicas"]) != ("StatefulSet", 1):
            yield f"{where}: a file belongs to one process: one replica of a StatefulSet"
        for probe in PROBES:
            if not is_answered(container.get(probe, {}), ports):
                yield f"{where}: {probe}: none, or of a port that the container does not have"
        if container["image"] != "shop":
            if ":" not in container["image"] or container["image"].endswith(":latest"):
                yield f"{where}: {container['image']} may be another program tomorrow"
            continue
        environment = image(root)[1] | variables
        for probe, path in PROBES.items():
            get = container.get(probe, {}).get("httpGet", {})
            number = ports.get(get.get("port"), get.get("port"))
            if get.get("path") != path or path not in found.paths or number != port(environment["SHOP_ADMIN"]):
                yield f"{where}: {probe} has to ask {path} of SHOP_ADMIN"
        if ports != {"calls": port(environment["SHOP_LISTEN"]), "admin": port(environment["SHOP_ADMIN"])}:
            yield f"{where}: the ports are not SHOP_LISTEN and SHOP_ADMIN"
        annotations = spec["template"]["metadata"].get("annotations", {})
        if annotations.get("prometheus.io/port") != str(port(environment["SHOP_ADMIN"])):
            yield f"{where}: metrics are not at the port that Prometheus is told"
        if name == "orders" and (spec["replicas"], spec.get("strategy", {}).get("type")) != (1, "Recreate"):
            yield f"{where}: two saga runners must not run at the same time: one replica, Recreate"
        if spec["replicas"] > 1 and drain(environment) < 2:
            yield f"{where}: callers have no time to learn that a replica ends: SHOP_DRAIN is under 2 s"
        mounted = {mounts[claim] for claim in claims if claim in mounts}
        platform.running[name] = Running(
            where, container["args"], environment, mounted, float(pod.get("terminationGracePeriodSeconds", 30))
        )
    _, postgres = cluster.objects["StatefulSet", "postgres"]
    (container,) = postgres["spec"]["template"]["spec"]["containers"]
    told = yield from variables_of("postgres.yaml", cluster, container)
    platform.database = (told["POSTGRES_USER"], told["POSTGRES_PASSWORD"], "postgres", told["POSTGRES_DB"])
    yield from platform_problems(found, platform)


def kustomization_problems(root: Path, cluster: Cluster) -> Iterator[str]:
    folder = root / SHOP / "k8s"
    told = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    there = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}
    if set(told["resources"]) != there:
        yield f"kustomization.yaml: its resources are not the files: {sorted(set(told['resources']) ^ there)}"
    if ("Namespace", told["namespace"]) not in cluster.objects:
        yield f"kustomization.yaml: no namespace {told['namespace']}"
    if [entry["name"] for entry in told["images"]] != ["shop"]:
        yield "kustomization.yaml: the image `shop` has no real name"
    for where, namespace in cluster.all("Namespace"):
        if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{where}: pods with more rights than they need are not refused"


def variables_of(where: str, cluster: Cluster, container: dict):
    """What the container is told. A generator, which returns it."""
    variables = {}
    for source in container.get("envFrom", []):
        name = source["configMapRef"]["name"]
        if ("ConfigMap", name) not in cluster.objects:
            yield f"{where}: no ConfigMap {name}"
        variables |= cluster.data("ConfigMap", name)
    for entry in container.get("env", []):
        if "value" in entry:
            variables[entry["name"]] = entry["value"]
            continue
        reference = entry["valueFrom"]["secretKeyRef"]
        data = cluster.data("Secret", reference["name"])
        if reference["key"] not in data:
            yield f"{where}: no key {reference['key']} in a Secret {reference['name']}"
        variables[entry["name"]] = data.get(reference["key"], "")
    return variables


def service_problems(where: str, cluster: Cluster, document: dict, ports: dict, platform: Platform) -> Iterator[str]:
    name, spec = document["metadata"]["name"], document["spec"]
    labels = spec["template"]["metadata"]["labels"]
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        yield f"{where}: selects other pods than its own"
    if document["kind"] == "StatefulSet" and spec["serviceName"] != name:
        yield f"{where}: serviceName is not {name}"
    _, service = cluster.objects.get(("Service", name), (None, None))
    if not service:
        yield f"{where}: has no Service"
        return
    if not service["spec"]["selector"].items() <= labels.items():
        yield f"{where}: its Service selects other pods"
    platform.hosts[name] = {}
    for entry in service["spec"]["ports"]:
        target = entry.get("targetPort", entry["port"])
        number = ports.get(target, target)
        if number not in ports.values():
            yield f"{where}: its Service has the target port {target}, the container has not"
        platform.hosts[name][entry["port"]] = number


def budget_problems(where: str, cluster: Cluster, document: dict) -> Iterator[str]:
    spec = document["spec"]
    labels = spec["template"]["metadata"]["labels"]
    budgets = [
        budget["spec"]
        for _, budget in cluster.all("PodDisruptionBudget")
        if budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ]
    if len(budgets) != 1:
        yield f"{where}: {len(budgets)} disruption budgets"
    for budget in budgets:
        if spec["replicas"] == 1 and budget.get("maxUnavailable") != 1:
            yield f"{where}: its disruption budget blocks every drain of a node"
        if spec["replicas"] > 1 and not 0 < budget.get("minAvailable", 0) < spec["replicas"]:
            yield f"{where}: its disruption budget keeps none, or blocks every drain of a node"


def pod_problems(where: str, pod: dict, container: dict) -> Iterator[str]:
    resources = container.get("resources", {})
    for kind, what in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if what not in resources.get(kind, {}):
            yield f"{where}: resources: no {kind} of {what}"
    context, own = pod.get("securityContext", {}), container.get("securityContext", {})
    needed = {
        "runAsNonRoot": context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0,
        "seccompProfile": context.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
        "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
        "capabilities: drop ALL": own.get("capabilities", {}).get("drop") == ["ALL"],
        "automountServiceAccountToken: false": pod.get("automountServiceAccountToken") is False,
        # Without it, a Service named `shop` would set SHOP_PORT.
        "enableServiceLinks: false": pod.get("enableServiceLinks") is False,
    }
    for what, has in needed.items():
        if not has:
            yield f"{where}: not {what}"


def is_answered(probe: dict, ports: dict[str, int]) -> bool:
    """Whether the container has the port of a probe. A command needs none."""
    return "exec" in probe or any(
        probe[kind]["port"] in {*ports, *ports.values()} for kind in ("httpGet", "tcpSocket", "grpc") if kind in probe
    )

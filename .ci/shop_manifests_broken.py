"""Breaks the files of the shop one by one, each in a copy, and demands that the checks notice it.

A fault is: the file, the text in it, the text instead, and what the problem has to say.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SHOP = "examples/shop"
K8S = f"{SHOP}/k8s"
DOCKERFILE = f"{SHOP}/Dockerfile"
IGNORE = f"{SHOP}/Dockerfile.dockerignore"
COMPOSE = f"{SHOP}/compose.yaml"
WORKFLOW = ".github/workflows/shop.yml"
# What the checks read. The build context is checked in the folder itself, with its own list of files.
READ = [WORKFLOW, SHOP, "Cargo.toml", "src/shutdown/builder.rs", ".ci"]
GRACE = "const GRACE: Duration = Duration::from_secs(20)"
LIVENESS = """\
          livenessProbe:
            httpGet: { path: /livez, port: admin }
            periodSeconds: 10
            timeoutSeconds: 3
"""
BUDGET = """\
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: { app.kubernetes.io/name: users }
"""

FAULTS = {
    "Dockerfile": [
        (DOCKERFILE, "FROM rust:1.95-slim-bookworm", "FROM rust", "DL3006"),
        (DOCKERFILE, "FROM rust:1.95-", "FROM rust:1.80-", "older than the rust-version"),
        (DOCKERFILE, "USER 65532:65532\n", "", "USER has to be a number over 0"),
        (DOCKERFILE, 'ENTRYPOINT ["/usr/local/bin/shop"]', 'ENTRYPOINT ["/bin/sh"]', "entry point"),
        (DOCKERFILE, "EXPOSE 8080 8180", "EXPOSE 8080", "EXPOSE"),
        (DOCKERFILE, "SHOP_DATA=/data", "SHOP_FOLDER=/data", "not in config.rs"),
        (DOCKERFILE, '["/usr/local/bin/shop", "healthy",', '["curl",', "which the image does not have"),
        (DOCKERFILE, "127.0.0.1:8180/readyz", "127.0.0.1:8080/readyz", "not /readyz of SHOP_ADMIN"),
    ],
    "compose": [
        (COMPOSE, "stop_grace_period: 30s", "stop_graceperiod: 30s", "check-jsonschema"),
        (COMPOSE, "stop_grace_period: 30s", "stop_grace_period: 10s", "killed 10 s after SIGTERM"),
        (COMPOSE, "SHOP_STOCK:", "SHOP_STOCKS:", "SHOP_STOCKS is not in config.rs"),
        (COMPOSE, "SHOP_STOCK: stock:8080", "SHOP_STOCK: stock:8084", "stock has no port 8084"),
        (COMPOSE, "SHOP_STOCK: stock:8080", "SHOP_STOCK: payments:8080", "is not SHOP_LISTEN of stock"),
        (COMPOSE, "orders=orders:8180,", "", "orders is missing"),
        (COMPOSE, "redis://redis:6379/", "redis://localhost:6379/", "is no address here"),
        (COMPOSE, '  SHOP_DRAIN: "1"\n', "", "SHOP_DRAIN is not set"),
        (COMPOSE, '  SHOP_DRAIN: "1"', '  SHOP_DRAIN: "1"\n  SHOP_FAULTS: "true"', "lets anybody break"),
        (COMPOSE, "command: [service, stock]", "command: [service, stocks]", "shop has no service stocks"),
        (COMPOSE, "  notifications:\n    <<: *service", "  messages:\n    <<: *service", "missing: ['notifications']"),
        (COMPOSE, '    volumes: ["payments:/data"]\n', "", "payments: no volume at SHOP_DATA"),
        (COMPOSE, '"payments:/data"', '"stock:/data"', "other than one owner"),
        (COMPOSE, "@postgres:5432/orders", "@postgres:5432/order", "SHOP_DATABASE does not match"),
        (COMPOSE, "127.0.0.1:8080:8080", "8080:8080", "publishes 8080:8080"),
        (COMPOSE, '["CMD", "/usr/local/bin/shop"', '["CMD-SHELL", "/usr/local/bin/shop"', "needs a shell"),
        (COMPOSE, "condition: service_healthy", "condition: service_started", "does not wait until it is healthy"),
        (COMPOSE, "  restart: unless-stopped\n", "", "no restart"),
    ],
    "kubernetes": [
        (f"{K8S}/stock.yaml", "periodSeconds: 2", "periodSecond: 2", "'periodSecond' was unexpected"),
        (f"{K8S}/stock.yaml", "apiVersion: policy/v1", "apiVersion: policy/v1beta1", "Kubernetes"),
        (f"{K8S}/stock.yaml", "PeriodSeconds: 35", "PeriodSeconds: 25", "drain + grace + margin is 30 s"),
        (f"{K8S}/config.yaml", 'SHOP_DRAIN: "5"', 'SHOP_DRAIN: "15"', "drain + grace + margin is 40 s"),
        (f"{K8S}/config.yaml", 'SHOP_DRAIN: "5"', "SHOP_DRAIN: 5s", "must be a number"),
        (f"{K8S}/config.yaml", "SHOP_USERS: users:8080", "SHOP_USERS: users:8081", "users has no port 8081"),
        (f"{K8S}/config.yaml", "SHOP_USERS:", "SHOP_USER:", "SHOP_USER is not in config.rs"),
        (f"{K8S}/config.yaml", "  SHOP_USERS: users:8080\n", "", "SHOP_USERS is not set"),
        (f"{K8S}/config.yaml", "0.0.0.0:8080", "127.0.0.1:8080", "must be 0.0.0.0:PORT"),
        (f"{K8S}/config.yaml", "0.0.0.0:8180", "0.0.0.0:8190", "the ports are not SHOP_LISTEN and SHOP_ADMIN"),
        (f"{K8S}/secret.yaml", "shop:shop@", "shop:other@", "SHOP_DATABASE does not match"),
        (f"{K8S}/secret.yaml", "  url:", "  address:", "no key url"),
        (f"{K8S}/users.yaml", "path: /readyz, port: admin", "path: /readyz, port: calls", "/readyz of SHOP_ADMIN"),
        (f"{K8S}/users.yaml", "path: /livez", "path: /health", "/livez of SHOP_ADMIN"),
        (f"{K8S}/users.yaml", LIVENESS, "", "livenessProbe: none"),
        (f"{K8S}/users.yaml", "targetPort: calls", "targetPort: http", "the container has not"),
        (f"{K8S}/users.yaml", "  selector: { app.kubernetes.io/name: users }", "  selector: { app: users }", "other pods"),
        (f"{K8S}/users.yaml", "replicas: 1", "replicas: 2", "a file belongs to one process"),
        (f"{K8S}/users.yaml", "args: [service, users]", "args: [service, catalog]", "not `service users`"),
        (f"{K8S}/users.yaml", "args: [service, users]", "args: [serve, users]", "shop has no command serve"),
        (f"{K8S}/users.yaml", "mountPath: /data", "mountPath: /users", "no volume at SHOP_DATA"),
        (f"{K8S}/users.yaml", BUDGET, BUDGET.replace("users", "user"), "0 disruption budgets"),
        (f"{K8S}/users.yaml", "maxUnavailable: 1", "minAvailable: 1", "blocks every drain"),
        (f"{K8S}/users.yaml", "cpu: 100m, ", "", "no requests of cpu"),
        (f"{K8S}/users.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "not runAsNonRoot"),
        (f"{K8S}/users.yaml", "drop: [ALL]", "add: [ALL]", "not capabilities: drop ALL"),
        (f"{K8S}/users.yaml", 'port: "8180"', 'port: "8080"', "at the port that Prometheus is told"),
        (f"{K8S}/gateway.yaml", "minAvailable: 1", "minAvailable: 2", "blocks every drain"),
        (f"{K8S}/orders.yaml", "{ type: Recreate }", "{ type: RollingUpdate }", "two saga runners"),
        (f"{K8S}/redis.yaml", "redis:7.4-bookworm", "redis:latest", "another program tomorrow"),
        (f"{K8S}/redis.yaml", "port: 6379", "port: 6380", "redis has no port 6379"),
        (f"{K8S}/kustomization.yaml", "  - stock.yaml\n", "", "its resources are not the files"),
        (f"{K8S}/namespace.yaml", "restricted", "privileged", "are not refused"),
        # The program changes, and the files do not.
        (f"{SHOP}/src/config.rs", 'env = "SHOP_BROKER"', 'env = "SHOP_EVENTS"', "SHOP_BROKER is not in config.rs"),
        (f"{SHOP}/src/config.rs", 'Self::Stock => "stock"', 'Self::Stock => "store"', "missing: ['store']"),
        (f"{SHOP}/src/process/admin.rs", '"/livez"', '"/alive"', "/livez of SHOP_ADMIN"),
        ("src/shutdown/builder.rs", GRACE, GRACE.replace("20", "60"), "drain + grace + margin is 70 s"),
    ],
    "workflow": [
        (WORKFLOW, "runs-on: ubuntu-24.04", "run-on: ubuntu-24.04", "check-jsonschema"),
        (WORKFLOW, "@11d5960a326750d5838078e36cf38b85af677262 # v4.4.0", "@v4", "unpinned-uses"),
        (WORKFLOW, '"$IMAGE:$GITHUB_SHA" --load', '"$IMAGE:${{ github.head_ref }}" --load', "template-injection"),
        (WORKFLOW, "shop=$IMAGE@$DIGEST", "shop=$IMAGE:latest", "not by the digest"),
        (WORKFLOW, "needs: [test, drill]", "needs: [test]", "has to wait"),
        (WORKFLOW, "broker: redis", "broker: other", "both brokers"),
        (WORKFLOW, "shop drill --orders", "shop drills --orders", "shop has no command drills"),
        (WORKFLOW, "--file examples/shop/Dockerfile", "--file examples/shop/Containerfile", "there is no"),
        (WORKFLOW, "          fi\n", "", "syntax error"),
    ],
    "context": [
        (IGNORE, "!tests\n", "", "cargo refuses the build context"),
        (IGNORE, "!src\n", "", "not in the build context: ['src/lib.rs']"),
        (IGNORE, "!Cargo.lock\n", "", "not in the build context: ['Cargo.lock']"),
        (IGNORE, "!src\n", "!src\n!.git\n", "are in the build context"),
    ],
}


def all_are_noticed(root: Path, check: Callable[[str, Path], list[str]]) -> int:
    """How many faults `check(name, folder)` has noticed. Ends the program if it has overlooked one."""
    noticed = 0
    for name, faults in FAULTS.items():
        for file, text, instead, says in faults:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder)
                for path in everything(root) if name == "context" else READ:
                    copy_to(root / path, copy / path)
                broken = copy / file
                content = broken.read_text(encoding="utf-8")
                if text not in content:
                    sys.exit(f"manifests: {file} has no longer `{text}` in it: choose another fault")
                broken.write_text(content.replace(text, instead, 1), encoding="utf-8")
                problems = check(name, copy)
            if not any(says in problem for problem in problems):
                sys.exit(f"manifests: `{instead}` for `{text}` in {file}: nobody says `{says}`, but: {problems}")
            noticed += 1
    return noticed


def everything(root: Path) -> list[str]:
    """All but what is built. The repository itself is only a folder with a file."""
    return [path.name for path in root.iterdir() if path.name not in ("target", ".git")] + [".git"]


def copy_to(path: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    if path.name == ".git":
        copy.mkdir()
        (copy / "HEAD").touch()
    elif path.is_dir():
        shutil.copytree(path, copy, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, copy)

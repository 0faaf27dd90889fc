"""Checks the files that run the shop in containers: Dockerfile, compose.yaml, the manifests for Kubernetes, and the workflow.

    python3 .ci/shop_manifests.py

First what schemas and linters see: a field that does not exist, a wrong type, a bad practice. Then what they cannot
see, in shop_manifests_rules.py: whether the files agree with each other and with the program. At the end each check is
broken once (shop_manifests_broken.py), and has to notice. No image is pulled, and nothing is started.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOP = Path("examples/shop")
WORKFLOW = Path(".github/workflows/shop.yml")
# The newest version whose schemas are in the package, and one that is a year older.
KUBERNETES = ("1.37", "1.34")
REQUIREMENTS = Path(__file__).with_suffix(".txt")


def enter_venv() -> None:
    """Goes on with a Python that has the requirements. It is made once, and again when they change."""
    folder = ROOT / "target/manifests"
    python = folder / "bin/python"
    if Path(sys.prefix) == folder:
        return
    stamp = folder / "requirements.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([*pip, "--requirement", REQUIREMENTS], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    os.execv(python, [python, "-B", *sys.argv])  # no .pyc files beside the sources


def tool(*command: object) -> list[str]:
    """The output of a program of the requirements as problems, if it found any."""
    program, *arguments = map(str, command)
    path = Path(sys.prefix) / "bin" / program
    done = subprocess.run([path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return [] if done.returncode == 0 else [f"{program}: {done.stdout.strip()}"]


def dockerfile_schema(root: Path) -> list[str]:
    return tool("hadolint", "--no-color", "--failure-threshold", "info", root / SHOP / "Dockerfile")


def compose_schema(root: Path) -> list[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", root / SHOP / "compose.yaml")


def kubernetes_schema(root: Path) -> list[str]:
    from shop_manifests_rules import documents

    return [f"{file}: {problem}" for file, document in documents(root / SHOP / "k8s") for problem in of_schema(json.dumps(document))]


@cache
def of_schema(document: str) -> list[str]:
    """Most documents are the same when the next fault is put in."""
    import kubernetes_validate as schemas

    problems = []
    for version in KUBERNETES:
        try:
            schemas.validate(json.loads(document), version, strict=True)
        except (schemas.ValidationError, schemas.SchemaNotFoundError, schemas.InvalidSchemaError) as error:
            where = "/".join(map(str, getattr(error, "path", [])))
            problems.append(f"Kubernetes {version}: {where}: {getattr(error, 'message', error)}")
    return problems


def workflow_schema(root: Path) -> list[str]:
    return [
        *tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", root / WORKFLOW),
        *tool("zizmor", "--offline", "--no-progress", "--color", "never", "--quiet", root / WORKFLOW),
    ]


def context(root: Path) -> list[str]:
    """The build context has all that `cargo` needs for the workspace, and nothing that was built."""
    from docker.utils import exclude_paths

    lines = (root / SHOP / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    files = [path for path in exclude_paths(str(root), patterns, str(SHOP / "Dockerfile")) if (root / path).is_file()]
    if built := sorted(path for path in files if Path(path).parts[0] in ("target", ".git")):
        return [f"Dockerfile.dockerignore: {built[0]} and {len(built) - 1} others are in the build context"]
    # Without these cargo would still load the workspace.
    if absent := {"Cargo.lock", "src/lib.rs", "examples/shop/src/main.rs"} - set(files):
        return [f"Dockerfile.dockerignore: not in the build context: {sorted(absent)}"]
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            copy = Path(folder, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, copy)
        command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return [f"Dockerfile.dockerignore: cargo refuses the build context: {done.stderr.strip()}"]
    return []


def first_problems(checks: list, root: Path) -> list[str]:
    """Of the first check that finds any: the later ones rely on it."""
    return next(filter(None, (check(root) for check in checks)), [])


def main() -> None:
    import shop_manifests_broken
    import shop_manifests_rules as rules

    began = time.monotonic()
    checks = {
        "Dockerfile": [dockerfile_schema, rules.dockerfile],
        "context": [context],
        "compose": [compose_schema, rules.compose],
        "kubernetes": [kubernetes_schema, rules.kubernetes],
        "workflow": [workflow_schema, rules.workflow],
    }
    for name, functions in checks.items():
        if problems := first_problems(functions, ROOT):
            print(*problems, sep="\n")
            sys.exit(f"manifests: {name}: {len(problems)} problems")
    noticed = shop_manifests_broken.all_are_noticed(ROOT, lambda name, root: first_problems(checks[name], root))
    print(f"manifests: in order; {noticed} faults put in are noticed; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    enter_venv()
    main()

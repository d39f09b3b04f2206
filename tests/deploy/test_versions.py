"""One list of versions, deploy/versions.yaml: other files read it, or agree with it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import kserve

from .rendering import PROJECT

DEPLOY = PROJECT / "deploy"
VERSIONS: dict[str, dict[str, str]] = yaml.safe_load((DEPLOY / "versions.yaml").read_text(encoding="utf-8"))["versions"]
# Images of Python are pinned by digest or chosen by whoever builds (PYTHON_IMAGE); ours have no version here.
OWN = re.compile(r"reviews-parsing|docker\.io/library/python|kind-registry|localhost|example")
IMAGE = re.compile(r"(?<![\w./-])((?:[\w-]+\.)+[a-z]+/[\w./-]+|kindest/node):(v?\d[\w.-]*)")
SPLIT_IMAGE = re.compile(
    r"(?:registry: ([\w.-]+),?\s+)?repository: ([\w./-]+)[,\s]+(?:#[^\n]*\s+)*tag: \"?(v?\d[\w.-]*)"
)
# Files that hold versions of images: tag and digest stand side by side, or the format has no variables.
NAMING = [
    PROJECT / "scripts" / "ci.py",
    *sorted(DEPLOY.glob("services/**/*.yaml")),
    *sorted(DEPLOY.glob("**/Dockerfile")),
    *sorted(DEPLOY.glob("kind/*.yaml")),
]
COMPOSE = sorted(
    file
    for form in ("*compose*.yaml", "*compose*.yml")
    for top in ("models", "deploy")
    for file in (PROJECT / top).rglob(form)
)
SHELL = sorted(DEPLOY.rglob("*.sh"))
DOCUMENTS = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").rglob("*.md")), *sorted(DEPLOY.rglob("*.md"))]
SCRIPTS = [
    PROJECT / "Makefile",
    PROJECT / ".ci" / "run",
    *sorted(PROJECT.glob(".github/workflows/*.yml")),
    *sorted((PROJECT / "scripts").glob("*.py")),
    *sorted(DEPLOY.rglob("*.py")),
    *SHELL,
    *sorted(DEPLOY.rglob("*Jenkinsfile")),
    PROJECT / "Jenkinsfile",
]
MANIFESTS = sorted(
    file
    for form in ("*.yaml", "*.tpl", "*.txt", "*.tf", "*.gotmpl", "Dockerfile")
    for file in DEPLOY.rglob(form)
    if file.name != "versions.yaml"
)
# Names in prose, with what they are in the list.
PRODUCTS = {
    "BuildKit": ("images", "docker.io/moby/buildkit"),
    "cert-manager": ("charts", "certManager"),
    "cosign": ("images", "ghcr.io/sigstore/cosign/cosign"),
    "Gateway API": ("crds", "gatewayApi"),
    "Grafana": ("images", "docker.io/grafana/grafana"),
    "Helm": ("tools", "helm"),
    "helmfile": ("tools", "helmfile"),
    "Istio": ("charts", "istio"),
    "Jaeger": ("images", "docker.io/jaegertracing/jaeger"),
    "KEDA": ("charts", "keda"),
    "Kind": ("tools", "kind"),
    "KServe": ("charts", "kserve"),
    "kubectl": ("tools", "kubectl"),
    "KubeRay": ("operators", "kuberay"),
    "Kyverno": ("operators", "kyverno"),
    "MLflow": ("images", "ghcr.io/mlflow/mlflow"),
    "PostgreSQL": ("images", "ghcr.io/cloudnative-pg/postgresql"),
    "Prometheus": ("images", "docker.io/prom/prometheus"),
    "SeaweedFS": ("images", "docker.io/chrislusf/seaweedfs"),
}
NUMBER = r"v?(\d+(?:\.\d+)+)"
MENTION = re.compile(rf"(?<![\w/.-])({'|'.join(PRODUCTS)})(?:'s)?[ `|:,(]{{1,3}}(?:version )?{NUMBER}", re.IGNORECASE)
CHART = re.compile(rf"\bchart (\w[\w-]*) {NUMBER}", re.IGNORECASE)


DOCKERFILES = [PROJECT / "models" / "reviews-parsing-ner-aspects" / "Dockerfile", *sorted(DEPLOY.glob("**/Dockerfile"))]
PYTHON = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)
# Where the version of an operator is named: what needs it, the test of its rules, and the document that names the list.
OPERATORS = {
    "KubeRay": (DEPLOY / "ray" / "rayjob.yaml", "test_ray.py", "files.md"),
    "Kyverno": (
        DEPLOY / "charts" / "reviews-parsing" / "templates" / "admission.yaml",
        "test_trust_chart.py",
        "image.md",
    ),
}


def base_images(file: Path) -> list[str]:
    """Return the images that a Dockerfile builds on, stages of its own left out."""
    text = file.read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    names = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    names += re.findall(r"^COPY .*--from=(\S+)", text, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE)
    return [re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], name) for name in names if name not in stages]


def images(file: Path) -> set[tuple[str, str]]:
    """Return the third-party images that a file names, with their tags."""
    text = file.read_text(encoding="utf-8")
    split = [("/".join(filter(None, (registry, name))), tag) for registry, name, tag in SPLIT_IMAGE.findall(text)]
    found = {*IMAGE.findall(text), *split}
    return {(name, tag) for name, tag in found if not OWN.search(name) and not name.startswith("github.com")}


def mentions(text: str) -> list[tuple[str, str, str]]:
    """Return each version that a text names of something in the list: the name, that version, and the list's."""
    products = {name.lower(): VERSIONS[kind][key] for name, (kind, key) in PRODUCTS.items()}
    charts = {name.lower(): version for name, version in VERSIONS["charts"].items()}
    named = []
    for name, version in CHART.findall(text):
        if listed := charts.get(name.replace("-", "").lower()):
            named.append((f"chart {name}", version, listed))
    return named + [(name, version, products[name.lower()]) for name, version in MENTION.findall(CHART.sub("", text))]


def outdated(text: str) -> list[str]:
    """Return the versions that a text names and the list does not; 1.30 agrees with 1.30.3."""
    return [
        f"{name} {version}"
        for name, version, listed in mentions(text)
        if not re.match(rf"v?{re.escape(version)}(?!\w)", listed)
    ] + [f"{name}:{tag}" for name, tag in IMAGE.findall(text) if VERSIONS["images"].get(name, tag) != tag]


def test_every_version_is_a_whole_one() -> None:
    assert set(VERSIONS) == {"charts", "crds", "images", "operators", "tools"}
    for kind, versions in VERSIONS.items():
        for name, version in versions.items():
            assert isinstance(version, str), (kind, name)
            assert re.match(r"v?\d+[.\d]*", version), (kind, name)


@pytest.mark.parametrize("file", NAMING, ids=lambda file: str(file.relative_to(PROJECT)))
def test_a_file_names_images_of_the_list_only(file: Path) -> None:
    for name, tag in images(file):
        assert VERSIONS["images"].get(name) == tag, f"{name}:{tag}"


def test_no_image_is_listed_that_nothing_names() -> None:
    named = {name for file in NAMING for name, _ in images(file)}
    named |= {
        name for file in COMPOSE for name in re.findall(r"image: (\S+/\S+):\$\{", file.read_text(encoding="utf-8"))
    }
    named |= {
        name for file in SHELL for name in re.findall(r"\$\(version (\S+/\S+)\)", file.read_text(encoding="utf-8"))
    }
    assert set(VERSIONS["images"]) == named


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: str(file.relative_to(PROJECT)))
def test_compose_reads_every_version(file: Path) -> None:
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        assert re.fullmatch(r"[\w./-]+:\$\{[A-Z_]+_VERSION:\?make compose writes it\}", service["image"]), name


def test_there_is_one_compose_file() -> None:
    assert [file.name for file in COMPOSE] == ["compose.yaml"]


@pytest.mark.parametrize("file", [*DOCUMENTS, *SCRIPTS, *MANIFESTS], ids=lambda file: str(file.relative_to(PROJECT)))
def test_a_version_in_prose_is_that_of_the_list(file: Path) -> None:
    """A sentence about the behaviour of a version has to be read again when the version changes."""
    assert outdated(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(PROJECT)))
def test_a_document_repeats_no_version_of_a_tool_or_an_image(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tools = {name.lower() for name, (kind, _) in PRODUCTS.items() if kind == "tools"}
    assert [name for name, _, _ in mentions(text) if name.lower() in tools or name.startswith("chart ")] == []
    assert [name for name, _ in IMAGE.findall(text) if name in VERSIONS["images"]] == []


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("KServe 0.20 in Standard mode", []),
        ("that of KServe 0.20.0 gives", []),
        ("KServe 0.2 in Standard mode", ["KServe 0.2"]),
        ("KServe's 0.19.0", ["KServe 0.19.0"]),
        ("| helm | v3.1.0 |", ["helm 3.1.0"]),
        ("kind v0.33.0, kubectl v1.34", ["kubectl 1.34"]),
        ("Chart cert-manager v1.20.0 of", ["chart cert-manager 1.20.0"]),
        ("chart mlflow 1.11.5", []),
        ("chart mlflow 3.17.0", ["chart mlflow 3.17.0"]),
        ("an array 1.5 long, Kubernetes 1.6, some kind of 2.5", []),
        ("by KubeRay 1.7, whose", []),
        ("by KubeRay 1.6, whose", ["KubeRay 1.6"]),
        ("In Kyverno 1.18.2 an", ["Kyverno 1.18.2"]),
        ("FROM docker.io/grafana/grafana:1.2.3", ["docker.io/grafana/grafana:1.2.3"]),
        ("docker.io/example/other:1.2.3", []),
    ],
)
def test_another_version_in_prose_is_reported(text: str, reported: list[str]) -> None:
    assert outdated(text) == reported


def test_scripts_of_the_shell_read_the_list() -> None:
    script = (DEPLOY / "cluster.sh").read_text(encoding="utf-8")
    function = re.search(r"^version\(\) .*$", script, re.MULTILINE)
    assert function
    asked = {name for file in SHELL for name in re.findall(r"\$\(version (\S+)\)", file.read_text(encoding="utf-8"))}
    assert set(VERSIONS["tools"]) < asked
    listed = {**VERSIONS["images"], **VERSIONS["tools"]}
    for name in asked:
        done = subprocess.run(
            ["bash", "-c", f'{function[0]}\nversion "$0"', name],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{listed[name]}\n"
    assert [image for file in SHELL for image in images(file)] == []


BASES = [(file, base) for file in DOCKERFILES for base in base_images(file)]


@pytest.mark.parametrize(("file", "base"), BASES, ids=[f"{file.parent.name} {base}" for file, base in BASES])
def test_base_images_are_pinned_by_digest(file: Path, base: str) -> None:
    assert base == "scratch" or re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", base)


def test_images_of_the_package_are_built_on_one_image_of_python() -> None:
    named = {file.parent.name: PYTHON.findall(file.read_text(encoding="utf-8")) for file in DOCKERFILES}
    assert {name for name, bases in named.items() if not bases} == {"agent"}
    assert len({base for bases in named.values() for base in bases}) == 1


def test_dependabot_proposes_new_digests_of_every_base_image() -> None:
    form = yaml.safe_load((PROJECT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    [folders] = [update["directories"] for update in form["updates"] if update["package-ecosystem"] == "docker"]
    assert set(folders) == {f"/{file.parent.relative_to(PROJECT)}" for file in DOCKERFILES}


def test_the_list_of_releases_has_no_version_of_its_own() -> None:
    text = (DEPLOY / "helmfile.yaml.gotmpl").read_text(encoding="utf-8")
    used = re.findall(r"^    version: \{\{ \.Values\.versions\.charts\.(\w+) \}\}$", text, re.MULTILINE)
    assert len(re.findall(r"^    version: ", text, re.MULTILINE)) == len(used)
    assert set(used) == set(VERSIONS["charts"])
    crds = re.findall(r"\{\{ \.Values\.versions\.crds\.(\w+) \}\}", text)
    assert set(crds) == set(VERSIONS["crds"])


def test_terraform_is_as_new_as_its_files_demand() -> None:
    files = (DEPLOY / "gke" / "terraform" / "versions.tf", DEPLOY / "cluster.sh", DEPLOY / "gke" / "README.md")
    demands = (r'required_version = "(>= [\d.]+)"', r'terraform\) echo "(>= [\d.]+),', r"terraform (>= [\d.]+),")
    texts = [file.read_text(encoding="utf-8") for file in files]
    demanded = [re.findall(demand, text) for demand, text in zip(demands, texts, strict=True)]
    assert [len(versions) for versions in demanded] == [1, 1, 1]
    assert demanded[0] == demanded[1] == demanded[2]


@pytest.mark.parametrize("chart", ["ingress", "reviews-parsing"])
def test_the_charts_are_of_the_projects_version(chart: str) -> None:
    """By which the images are named that run by default."""
    described = yaml.safe_load((DEPLOY / "charts" / chart / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert described["appVersion"] == described["version"] == project["version"]


def test_what_is_ported_for_tests_is_of_the_release_that_is_installed() -> None:
    assert VERSIONS["charts"]["kserve"] == kserve.VERSION
    gateway = (PROJECT / "tests" / "deploy" / "gateway.py").read_text(encoding="utf-8")
    assert f"Istio {VERSIONS['charts']['istio']} " in gateway


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_version_of_an_operator_is_named_where_it_is_needed(operator: str) -> None:
    manifest, test, document = OPERATORS[operator]
    for file in (manifest, PROJECT / "tests" / "deploy" / test):
        text = file.read_text(encoding="utf-8")
        assert operator in {name for name, _, _ in mentions(text)}, file
        assert outdated(text) == [], file
    text = (PROJECT / "docs" / "how-to" / document).read_text(encoding="utf-8")
    paragraph = next(part for part in text.split("\n\n") if f"[{operator}](" in part)
    assert re.search(r"\[versions\.yaml\]\(../../deploy/versions\.yaml\) lists under\s`operators`", paragraph)


def test_every_operator_has_a_place_that_names_it() -> None:
    assert set(VERSIONS["operators"]) == {PRODUCTS[operator][1] for operator in OPERATORS}


def test_a_node_is_of_the_kubernetes_that_kubectl_is_for() -> None:
    versions: dict[str, Any] = VERSIONS
    assert versions["images"]["kindest/node"].startswith(f"{versions['tools']['kubectl']}.")
    assert versions["images"]["registry.k8s.io/kubectl"] == versions["images"]["kindest/node"]

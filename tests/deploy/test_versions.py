"""One list of versions, deploy/versions.yaml: every file that names a chart, an image or a tool agrees with it."""

from __future__ import annotations

import re
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
SPLIT_IMAGE = re.compile(r"repository: ([\w.-]+/[\w./-]+)[,\s]+(?:#[^\n]*\s+)*tag: \"?(v?\d[\w.-]*)")
NAMING = [
    PROJECT / "models" / "reviews-parsing-ner-aspects" / "compose.yaml",
    PROJECT / "scripts" / "ci.py",
    *sorted(DEPLOY.glob("services/**/*.yaml")),
    *sorted(DEPLOY.glob("**/Dockerfile")),
    *sorted(DEPLOY.glob("**/*.sh")),
    *sorted(DEPLOY.glob("kind/*.yaml")),
]


DOCKERFILES = [PROJECT / "models" / "reviews-parsing-ner-aspects" / "Dockerfile", *sorted(DEPLOY.glob("**/Dockerfile"))]
# Base images of a version without a digest.
UNPINNED = {
    "docker.io/rayproject/ray:2.60.0-py311-cpu",
    "docker.io/jenkins/inbound-agent:3386.v353e57a_1b_ea_0-3-jdk21",
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
    found = {*IMAGE.findall(text), *SPLIT_IMAGE.findall(text)}
    return {(name, tag) for name, tag in found if not OWN.search(name) and not name.startswith("github.com")}


def test_every_version_is_a_whole_one() -> None:
    assert set(VERSIONS) == {"charts", "crds", "images", "tools"}
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
    assert set(VERSIONS["images"]) == named


BASES = [(file, base) for file in DOCKERFILES for base in base_images(file)]


@pytest.mark.parametrize(("file", "base"), BASES, ids=[f"{file.parent.name} {base}" for file, base in BASES])
def test_base_images_are_pinned_by_digest(file: Path, base: str) -> None:
    assert base == "scratch" or re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", base) or base in UNPINNED
    if base in UNPINNED:
        # A version that its publisher never moves; whoever can reach its registry adds the digest, which fails here.
        assert re.search(r":[\w.-]*\d[\w.-]*$", base)


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


def test_scripts_and_documents_name_the_tools_of_the_list() -> None:
    script = (DEPLOY / "cluster.sh").read_text(encoding="utf-8")
    assert dict(re.findall(r"^ +([a-z]+)\) echo \"(v[\d.]+),", script, re.MULTILINE)) == VERSIONS["tools"]


def test_what_is_ported_for_tests_is_of_the_release_that_is_installed() -> None:
    assert VERSIONS["charts"]["kserve"] == kserve.VERSION
    gateway = (PROJECT / "tests" / "deploy" / "gateway.py").read_text(encoding="utf-8")
    assert f"Istio {VERSIONS['charts']['istio']} " in gateway


def test_a_node_is_of_the_kubernetes_that_kubectl_is_for() -> None:
    versions: dict[str, Any] = VERSIONS
    assert versions["images"]["kindest/node"].startswith(f"{versions['tools']['kubectl']}.")

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

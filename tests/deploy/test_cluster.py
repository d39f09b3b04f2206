"""`make kind-up` and `make gke-up` with programs that record how they are called: images, signatures, values."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from .rendering import RETRAIN, TOOLS, merged
from .test_services import DEPLOY, HELMFILE, PROJECT, STATE, environment_values, helmfile, leaves, named, values_of

# What each program prints; all of them note how they are called.
PROGRAM = r"""#!/bin/bash
name=${0##*/} last=${*: -1}
echo "$name $*" >>"$LOG"
hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
case "$name $*" in
    "$FAILS"*) exit 1 ;;
    "docker exec -i "* | "docker login "* | "openssl base64 "*) cat >/dev/null ;;
    "docker --version") echo "${VERSION:-Docker version 29.0.0, build 0}" ;;
    "kind get clusters") echo "$CLUSTERS" ;;
    "helm template "*) cat "$MANIFESTS" ;;
    "git describe "*) echo v1 ;;
    "docker image inspect --format {{.Id}} "*) echo "sha256:$(hash "$last")" ;;
    "docker image inspect "*) echo "${last%:*}@sha256:$(hash "$last")" ;;
    *" port-forward "*) echo "Forwarding from 127.0.0.1:4711 -> 443" && exec sleep 60 ;;
    *model.image*) printf %s "$DEPLOYED" ;;
    "kubectl "*secret*|*MODEL_URI*) echo slack ;;
    *" get_credentials") echo gcloud container clusters get-credentials ;;
    *" artifact_registry") echo europe-docker.pkg.dev/p/images ;;
    *" domain") echo reviews.example.com ;;
    *" environment") echo dev ;;
    "terraform "*network) echo some-network ;;
    "terraform "*) echo "$last-1" ;;
esac
"""
PROGRAMS = (
    *("docker", "kind", "kubectl", "helm", "helmfile", "openssl", "make", "git", "terraform", "gcloud"),
    "gke-gcloud-auth-plugin",
)
SERVER = "reviews-parsing-ner-aspects"
EVERYTHING = [SERVER, "reviews-parsing-tools", "reviews-parsing-train"]
Values = dict[str, Any]


@dataclass
class Checkout:
    """Copy of the scripts, with a log of the programs that they call."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "deploy/cluster.sh", *arguments]
        variables = {**self.environment, **environment}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def up(self, cluster: str, enabled: Values, **environment: str) -> Values:
        """Run a cluster's up with values of the chart; return what it writes for helmfile."""
        values = merged(yaml.safe_load((DEPLOY / f"charts/reviews-parsing/values-{cluster}.yaml").read_text()), enabled)
        Path(self.environment["MANIFESTS"]).write_text(manifests(values), encoding="utf-8")
        done = self.run(*([cluster, "up"] if cluster == "kind" else [cluster, "up", "dev"]), **environment)
        assert done.returncode == 0, done.stderr
        file = "kind.yaml" if cluster == "kind" else "gke-dev.yaml"
        written: Values = yaml.safe_load((self.folder / ".reviews-parsing" / file).read_text())
        return written

    def calls(self, start: str) -> list[str]:
        """Return what followed on `start`, call by call."""
        lines = Path(self.environment["LOG"]).read_text(encoding="utf-8").splitlines()
        return [line.removeprefix(start).strip() for line in lines if line.startswith(start)]

    @property
    def built(self) -> list[str]:
        return [call.split()[0] for call in self.calls("make --silent ")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder, programs = tmp_path / "checkout", tmp_path / "programs"
    environments = Path("gke", "terraform", "environments")
    for name in ("cluster.sh", "versions.yaml", "kind/cluster.sh", "gke/cluster.sh", environments / "dev.tfvars"):
        (folder / "deploy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEPLOY / name, folder / "deploy" / name)
    for place in (
        *(programs / name for name in PROGRAMS),
        folder / ".venv/bin/python",
        folder / ".venv/bin/reviews-parsing",
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(PROGRAM, encoding="utf-8")
        place.chmod(0o755)
    return Checkout(
        folder,
        {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LOG": str(tmp_path / "log"),
            "MANIFESTS": str(tmp_path / "manifests.yaml"),
            "CLUSTERS": "",
            "DEPLOYED": "",
            "FAILS": "nothing",
        },
    )


def manifests(values: Values) -> str:
    """Return the chart as `helm template` prints it."""
    with helm_python.Chart.load(DEPLOY / "charts" / "reviews-parsing") as chart:
        files = chart.render(values, name="reviews-parsing", namespace="reviews-parsing")
    return "\n---\n".join(text for name, text in sorted(files.items()) if not name.endswith("NOTES.txt"))


def running(cluster: str, written: Values, enabled: Values, folder: Path) -> set[str]:
    """Return the images that the release runs with what the script wrote, by helmfile's values."""
    release = named(helmfile(cluster, folder, written)["releases"], "reviews-parsing")
    text = manifests(merged(enabled, values_of(release)))
    return {line.split("image:")[1].strip() for line in text.splitlines() if line.strip().startswith("image: ")}


@pytest.mark.parametrize(
    ("enabled", "names"),
    [
        ({}, EVERYTHING[:1]),
        ({"page": TOOLS["page"]}, EVERYTHING[:2]),
        ({"report": TOOLS["report"]}, EVERYTHING[:2]),
        (RETRAIN, EVERYTHING),
    ],
)
def test_kind_up_loads_the_images_that_the_release_runs(
    enabled: Values, names: list[str], checkout: Checkout, tmp_path: Path
) -> None:
    written = checkout.up("kind", enabled)
    assert written["page"] == ("page" in enabled)
    assert checkout.built == ["image", "tools-image", "train-image"][: len(names)]
    loaded = checkout.calls("kind load docker-image --name reviews-parsing")
    assert [image.partition(":")[0] for image in loaded] == names
    assert running("kind", written, enabled, tmp_path) == set(loaded)
    # Each was built just before, under a name that its tag comes from.
    for call, image in zip(checkout.calls("docker tag "), loaded, strict=True):
        source, target = call.split()
        assert target == image == f"{source.partition(':')[0]}:{hashlib.sha256(source.encode()).hexdigest()[:12]}"


@pytest.mark.parametrize("jenkins", ["", "https://git.example.com/r.git"])
def test_gke_up_deploys_by_digest_what_it_pushed_and_signed(jenkins: str, checkout: Checkout, tmp_path: Path) -> None:
    written = checkout.up("gke", RETRAIN, JENKINS_REPOSITORY=jenkins)
    pushed = [image for image in checkout.calls("docker push --quiet ") if "-ci:" not in image]
    registry = "europe-docker.pkg.dev/p/images"
    assert [image.partition(":")[0] for image in pushed] == [f"{registry}/{name}" for name in EVERYTHING]
    digests = [f"{image.partition(':')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}" for image in pushed]
    assert {drop_tag(image) for image in running("gke", written, RETRAIN, tmp_path)} == set(digests)
    assert signed(checkout) == (digests if jenkins else [])
    assert written["models"] == {"network": "some-network"}


def test_kind_up_with_jenkins_signs_what_it_pushes_and_deploys(checkout: Checkout, tmp_path: Path) -> None:
    written = checkout.up("kind", RETRAIN, JENKINS_REPOSITORY="https://git.example.com/r.git")
    assert not checkout.calls("kind load")
    images = signed(checkout)
    assert [image.partition("@")[0] for image in images] == [f"localhost:5001/{name}" for name in EVERYTHING]
    deployed = {image.replace("localhost:5001/", "kind-registry:5000/") for image in images}
    assert {drop_tag(image) for image in running("kind", written, RETRAIN, tmp_path)} == deployed
    assert written["jenkins"]["agentImage"].startswith("kind-registry:5000/reviews-parsing-ci@sha256:")


def drop_tag(image: str) -> str:
    """Return REPOSITORY@DIGEST of REPOSITORY:TAG@DIGEST."""
    name, _, digest = image.partition("@")
    return f"{name.rpartition(':')[0]}@{digest}"


def signed(checkout: Checkout) -> list[str]:
    """Return the signed images. Each must be signed after its push and before it is deployed."""
    calls = checkout.calls("")
    deployed = next(number for number, call in enumerate(calls) if "tier=application" in call)
    found = [(number, call.split()[-1]) for number, call in enumerate(calls) if "--entrypoint cosign" in call]
    for number, image in found:
        pushed = next(n for n, c in enumerate(calls) if c.startswith(f"docker push --quiet {image.partition('@')[0]}:"))
        assert pushed < number < deployed
    return [image for _, image in found]


@pytest.mark.parametrize("cluster", ["kind", "gke"])
def test_the_image_that_jenkins_deployed_stays(cluster: str, checkout: Checkout) -> None:
    repository, digest = f"kind-registry:5000/{SERVER}", f"sha256:{'1' * 64}"
    environment = {"JENKINS_REPOSITORY": "https://git.example.com/r.git", "DEPLOYED": f"{repository}@{digest}"}
    written = checkout.up(cluster, TOOLS, **environment)
    assert checkout.built == ["tools-image", "agent-image"]
    assert written["image"] == {"repository": repository, "tag": "", "digest": digest}
    assert len(signed(checkout)) == 1


def test_images_that_the_values_name_are_not_built(checkout: Checkout) -> None:
    image = {"repository": "registry.example.com/reviews-parsing-tools", "tag": "v3", "digest": ""}
    pinned = {"repository": "reviews-parsing-train", "tag": "", "digest": f"sha256:{'2' * 64}"}
    enabled = merged(RETRAIN, {"tools": {"image": image}, "retrain": {"image": pinned}})
    written = checkout.up("kind", enabled)
    assert checkout.built == ["image"]
    assert (written["tools"]["repository"], written["train"]["repository"]) == ("", "")


@pytest.mark.parametrize("fails", ["helm template", "make --silent tools-image", "kind load"])
def test_nothing_is_deployed_after_an_error(fails: str, checkout: Checkout) -> None:
    with pytest.raises(AssertionError):
        checkout.up("kind", TOOLS, FAILS=fails)
    assert not checkout.calls("helmfile")
    assert not (checkout.folder / ".reviews-parsing" / "kind.yaml").exists()


def test_a_node_that_was_stopped_is_started_again(checkout: Checkout) -> None:
    checkout.up("kind", {}, CLUSTERS="reviews-parsing")
    assert not checkout.calls("kind create")
    calls = checkout.calls("")
    starts = [
        "docker start reviews-parsing-control-plane",
        "kind export kubeconfig",
        "kubectl get --raw /readyz",
        "kubectl wait",
    ]
    order = [next(number for number, call in enumerate(calls) if call.startswith(start)) for start in starts]
    assert order == sorted(order)


def test_podman_by_dockers_name_is_refused(checkout: Checkout) -> None:
    done = checkout.run("kind", "up", VERSION="podman version 5.6.0")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: docker is podman here: install docker, https://")


@pytest.mark.parametrize("cluster", ["kind", "gke"])
def test_the_script_writes_the_values_that_the_list_knows(cluster: str, checkout: Checkout) -> None:
    written = checkout.up(cluster, {}, ACME_EMAIL="ops@example.org")
    known: Values = {}
    for part in environment_values(HELMFILE.read_text(encoding="utf-8").partition("\n---\n")[0], cluster):
        known = merged(known, part)
    assert {path for path, _ in leaves(written)} <= {path for path, _ in leaves(known)}
    assert {path for path, _ in leaves(STATE[cluster])} <= {path for path, _ in leaves(written)}


def test_an_image_that_make_builds_is_the_charts_default() -> None:
    """Both are named by the version of the project."""
    values = merged(yaml.safe_load((DEPLOY / "charts/reviews-parsing/values-kind.yaml").read_text()), RETRAIN)
    images = {line.split()[1] for line in manifests(values).splitlines() if line.strip().startswith("image: ")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    make = ["make", "-n", "tools-image", "train-image"]
    done = subprocess.run(make, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    built = {line.split(" -t ")[1].split()[0] for line in done.stdout.splitlines()}
    assert built == {image for image in images if SERVER not in image}

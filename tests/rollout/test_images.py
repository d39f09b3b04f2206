"""Images in a rollout: the digest that was signed is the one that pods run, with a canary and back again."""

from __future__ import annotations

import pytest

import kserve
from reviews_parsing.rollout.plan import read_plan

from .api import NAME, Cluster, model
from .conftest import Run

CHAMPION, CANARY = f"{NAME}-predictor", f"{NAME}-v3-predictor"
SIGNED = f"registry.example.com/server@sha256:{'b' * 64}"
NEWER = f"registry.example.com/server@sha256:{'c' * 64}"


def images(cluster: Cluster) -> dict[str, str]:
    return {name: t["spec"]["containers"][0]["image"] for name, t in cluster.templates().items()}


def test_an_image_is_rolled_out_with_the_version_that_is_served(cluster: Cluster, run: Run) -> None:
    form = run("start", "--image", SIGNED, "--json").json
    assert (form["champion"]["version"], form["champion"]["image"]) == ("1", SIGNED)
    assert images(cluster) == {CHAMPION: SIGNED}
    assert cluster.pods() == {"predictor": model("1")}
    assert "serves version 1 already" in run("start", "--image", SIGNED).err
    run("start", "--image", NEWER)
    assert images(cluster) == {CHAMPION: NEWER}
    run("undo")
    assert images(cluster) == {CHAMPION: SIGNED}


def test_the_first_image_is_undone_to_that_of_the_chart(cluster: Cluster, run: Run) -> None:
    run("start", "--image", SIGNED)
    assert run("undo", "--json").json["champion"]["image"] == kserve.RUNTIME_IMAGE
    assert images(cluster) == {CHAMPION: kserve.RUNTIME_IMAGE}


def test_a_canary_runs_the_image_of_its_own_and_promotion_takes_it_along(cluster: Cluster, run: Run) -> None:
    form = run("start", "--version", "3", "--image", SIGNED, "--canary", "10", "--json").json
    assert form["canary"]["image"] == SIGNED
    assert images(cluster) == {CHAMPION: kserve.RUNTIME_IMAGE, CANARY: SIGNED}
    assert run("start", "--version", "3", "--canary", "50", "--json").json["canary"]["image"] == SIGNED
    run("promote")
    assert images(cluster) == {CHAMPION: SIGNED}
    run("start", "--version", "2", "--canary", "10")
    assert set(images(cluster).values()) == {SIGNED}
    run("undo")
    run("undo")
    assert cluster.pods() == {"predictor": model("1")}
    assert images(cluster) == {CHAMPION: kserve.RUNTIME_IMAGE}


def test_an_image_that_does_not_become_ready_is_undone(cluster: Cluster, run: Run) -> None:
    plan = read_plan(cluster.object)
    cluster.fates[model("1")] = "fails"
    assert "version 1 did not become ready" in run("start", "--image", SIGNED).error
    assert read_plan(cluster.object) == plan
    assert images(cluster) == {CHAMPION: kserve.RUNTIME_IMAGE}


@pytest.mark.parametrize("image", ["server:1", "server@sha256:abc", f"server:1@sha512:{'b' * 64}"])
def test_an_image_without_a_digest_is_refused(cluster: Cluster, run: Run, image: str) -> None:
    assert f"image {image} has no digest" in run("start", "--image", image).error
    assert not [request for request in cluster.requests if request.startswith("PATCH")]


def test_a_canary_of_the_version_that_is_served_is_refused(cluster: Cluster, run: Run) -> None:
    error = run("start", "--image", SIGNED, "--canary", "10").error
    assert "metrics tell canaries by their version" in error
    assert images(cluster) == {CHAMPION: kserve.RUNTIME_IMAGE}

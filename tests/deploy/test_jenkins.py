"""The Jenkinsfile, its stages run for real where that can be done here, and what Jenkins and its agents may do."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import helm_python
import kubernetes_validate
import pytest
import yaml
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
from mlflow.webhooks.types import get_example_payload_for_event

from ports import free_port
from reviews_parsing import registry
from reviews_parsing.settings import CHAMPION, MODEL_NAME
from rollout.api import NAMESPACE, TOKEN, Cluster, model
from rollout.conftest import known_to

from .admission import refusals

PROJECT = Path(__file__).parent.parent.parent
JENKINS = PROJECT / "deploy" / "services" / "jenkins"
WALK = Path(__file__).parent / "walk.groovy"
BUILD = PROJECT / "build"
KUBERNETES = "1.32"

DIGEST = "sha256:" + "a" * 64

Call = dict[str, Any]


def walked(source: Path) -> list[Call]:
    """Return the calls of a Groovy file, as Jenkins' own compiler sees them."""
    java = Path(shutil.which("java") or "java").resolve()
    environment = {**os.environ, "JAVA_HOME": str(java.parent.parent)}
    done = subprocess.run(
        ["groovy", str(WALK), str(source)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["groovy"] == "2.4.21"
    calls: list[Call] = found["calls"]
    return calls


def named(calls: list[Call], name: str) -> list[Call]:
    """Return the calls of a block that have this name."""
    return [call for call in calls if call["name"] == name]


def deep(calls: list[Call], name: str) -> Iterator[Call]:
    """Yield the calls that have this name, at any depth."""
    for call in calls:
        if call["name"] == name:
            yield call
        yield from deep(call["calls"], name)


def commands(calls: list[Call]) -> list[str]:
    return [call["arguments"][0] for call in deep(calls, "sh")]


# Jobs beside the pipeline, by the names of their files.
JOBS: dict[str, Callable[[], list[Call]]] = {
    name: cache(partial(walked, JENKINS / f"{name}.Jenkinsfile")) for name in ("retrain", "champion")
}


@pytest.fixture(scope="module")
def pipeline() -> list[Call]:
    [call] = walked(PROJECT / "Jenkinsfile")
    assert call["name"] == "pipeline"
    inside: list[Call] = call["calls"]
    return inside


@pytest.fixture(scope="module")
def stages(pipeline: list[Call]) -> dict[str, Call]:
    """Return the stages that have steps, by name."""
    return {call["arguments"][0]: call for call in deep(pipeline, "stage") if named(call["calls"], "steps")}


def test_the_jenkinsfile_is_declarative(pipeline: list[Call]) -> None:
    assert {call["name"] for call in pipeline} == {"agent", "options", "stages", "post"}
    for stage in deep(pipeline, "stage"):
        sections = [call["name"] for call in stage["calls"]]
        assert len(set(sections)) == len(sections), stage["arguments"]
        assert set(sections) <= {"agent", "when", "options", "steps", "stages", "post"}
        assert len({"steps", "stages"} & set(sections)) == 1
    for post in deep(pipeline, "post"):
        assert {call["name"] for call in post["calls"]} <= {"always", "success", "failure", "unsuccessful", "cleanup"}


def test_the_stages_come_in_their_order(stages: dict[str, Call]) -> None:
    assert list(stages) == ["Check", "Test", "Image", "Gate", "Deploy", "Approve", "Canary", "Smoke test", "Promote"]


def test_each_stage_runs_one_target_of_the_makefile(pipeline: list[Call], stages: dict[str, Call]) -> None:
    for name, stage in stages.items():
        if name == "Approve":
            assert commands(stage["calls"]) == []
            assert len(list(deep(stage["calls"], "input"))) == 1
        else:
            assert len(commands(stage["calls"])) == 1, name
    targets = [re.fullmatch(r"make (ci-[a-z]+)", command) for command in commands(pipeline)]
    assert all(targets)
    called = [target[1] for target in targets if target]
    called += [
        command.removeprefix("make ")
        for calls in JOBS.values()
        for stages_ in deep(calls(), "stages")
        for command in commands(stages_["calls"])
    ]
    assert len(set(called)) == len(called)
    made = re.findall(r"^((?:ci-[a-z]+ ?)+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert set(called) == set(" ".join(made).split())


def test_the_other_jobs_are_declarative_and_run_one_target_each() -> None:
    targets = {}
    for name, calls in JOBS.items():
        [inside] = [call["calls"] for call in calls()]
        assert {call["name"] for call in inside} == {"agent", "options", "stages", "post"}
        [targets[name]] = commands(named(inside, "stages"))
    assert targets == {"retrain": "make ci-retrain", "champion": "make ci-champion"}


@pytest.mark.parametrize("name", JOBS)
def test_people_hear_of_a_job_that_no_person_started_and_that_failed(name: str) -> None:
    [inside] = [call["calls"] for call in JOBS[name]()]
    [[condition]] = [post["calls"] for post in named(inside, "post")]
    [node] = condition["calls"]
    assert (condition["name"], node["name"], node["arguments"]) == ("unsuccessful", "node", ["reviews-parsing-notify"])
    # An agent of its own, which has the address and no sources.
    assert [call["name"] for call in node["calls"]] == ["checkout", "withEnv"]
    assert commands(node["calls"]) == ["make ci-notify"]


def test_nothing_is_rolled_out_before_a_person_has_seen_the_comparison(
    pipeline: list[Call], stages: dict[str, Call]
) -> None:
    [question] = deep(stages["Approve"]["calls"], "input")
    [options] = question["arguments"]
    assert options["submitterParameter"] == "APPROVER"
    [text] = deep(stages["Approve"]["calls"], "text")
    assert text["arguments"][0]["name"] == "COMPARISON"
    waits = {call["arguments"][0]: bool(named(call["calls"], "when")) for call in deep(pipeline, "stage")}
    assert waits["Approve"]
    assert waits["Rollout"]
    [rollout] = [call for call in deep(pipeline, "stage") if call["arguments"][0] == "Rollout"]
    [post] = named(rollout["calls"], "post")
    assert commands(post["calls"]) == ["make ci-undo"]
    assert post["calls"][0]["name"] == "unsuccessful"


def make(target: str, expect: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a target with the Python of this test, which has everything installed."""
    stamp = BUILD / "installed"
    stamp.touch()
    installed = [f"STAMP={stamp}", f"BIN={Path(sys.executable).parent}", f"PYTHON={sys.executable}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment.pop("COVERAGE", None)  # a stage within a stage would erase what the outer one has measured
    done = subprocess.run(
        ["make", "--no-print-directory", *installed, target],
        cwd=PROJECT,
        env={**environment, "PYTHONPATH": str(PROJECT / "src"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (expect == 0), done.stdout + done.stderr
    return done


def left(name: str) -> str:
    """Return the content of a file that a stage has written under build/."""
    return (BUILD / name).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def clean_build() -> Iterator[None]:
    """Nothing that another test left, and nothing left."""

    def clean() -> None:
        BUILD.mkdir(exist_ok=True)
        for pattern in ("challenger", "comparison.*", "image.*", "promoted", "tests.xml", "coverage.xml", "installed"):
            for file in BUILD.glob(pattern):
                file.unlink()

    clean()
    yield
    clean()


def test_check_checks() -> None:
    assert "no issues found" in make("ci-check").stdout


def test_test_tests_and_leaves_a_report() -> None:
    make("ci-test", PYTEST_ADDOPTS="-p no:cacheprovider tests/tagging/test_iob.py")
    suite = ElementTree.parse(BUILD / "tests.xml").getroot()[0]
    assert int(suite.attrib["tests"]) > 0
    assert suite.attrib["failures"] == suite.attrib["errors"] == "0"
    assert not (BUILD / "coverage.xml").exists()


def test_test_measures_branches_if_told_to_and_has_a_floor(tmp_path: Path) -> None:
    measured: dict[str, Any] = {
        "COVERAGE": "yes",
        "COVERAGE_FILE": str(tmp_path / "data"),
        "COVERAGE_PROCESS_CONFIG": "",
    }
    options: dict[str, Any] = {"PYTEST_ADDOPTS": "-p no:cacheprovider tests/tagging/test_iob.py"}
    done = make("ci-test", expect=2, **measured, **options)
    assert "Required test coverage of 95% not reached" in done.stdout + done.stderr
    report = ElementTree.parse(BUILD / "coverage.xml").getroot()
    assert int(report.attrib["branches-covered"]) > 0
    make("ci-test", **measured, **options, COVERAGE_FLOOR="1")


def test_gate_finds_no_challenger_where_the_champion_is_newest(with_champion: Path) -> None:
    make("ci-gate", REVIEWS_PARSING_HOME=str(with_champion))
    assert left("challenger") == ""
    assert "no version is newer than the champion" in left("comparison.txt")


def another_version(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Register the champion's model again with another configuration."""
    champion = registry.versions()[0]
    folder, _ = registry.fetch(f"models:/{MODEL_NAME}/{champion.version}")
    copy = tmp_path / "model" / "artifacts" / "parser"
    shutil.copytree(folder, copy)
    config = copy / "parser.json"
    form = json.loads(config.read_text(encoding="utf-8"))
    change(form)
    config.write_text(json.dumps(form), encoding="utf-8")
    with registry.tracking() as client:
        return str(client.create_model_version(MODEL_NAME, str(tmp_path / "model"), champion.run_id).version)


def test_gate_lets_a_challenger_through_that_is_as_good(with_champion: Path, tmp_path: Path) -> None:
    assert another_version(tmp_path, lambda form: None) == "2"
    make("ci-gate", REVIEWS_PARSING_HOME=str(with_champion))
    assert left("challenger") == "2\n"
    comparison = left("comparison.txt")
    assert "version 2 may become champion: not worse than version 1" in comparison
    for column in ("F1, exact match", "version 2", "version 1", "difference"):
        assert column in comparison
    form = json.loads(left("comparison.json"))
    assert (form["version"], form["champion"], form["passes"], form["promoted"]) == ("2", "1", True, False)
    assert registry.champion() == "1"
    assert "gate" not in registry.versions()[0].tags


def test_a_dry_run_of_promote_changes_nothing(with_champion: Path) -> None:
    before = registry.versions()
    command = [sys.executable, "-m", "reviews_parsing.cli", "promote", "--dry-run"]
    done = subprocess.run([*command, "--version", "1"], capture_output=True, text=True, check=True)
    assert "version 1 may become champion" in done.stdout
    assert registry.versions() == before
    refusal = subprocess.run([*command, "--run-id", "0"], capture_output=True, text=True, check=False)
    assert refusal.returncode == 2
    assert "--dry-run needs --version" in refusal.stderr


def test_gate_stops_a_challenger_that_is_worse(with_champion: Path, tmp_path: Path) -> None:
    def mix_up_categories(form: dict[str, Any]) -> None:
        form["taxonomy"]["categories"] = form["taxonomy"]["categories"][::-1]

    another_version(tmp_path, mix_up_categories)
    make("ci-gate", REVIEWS_PARSING_HOME=str(with_champion))
    assert left("challenger") == ""
    assert "version 2 is not promoted: worse than version 1" in left("comparison.txt")


def test_gate_fails_where_the_registry_is_away(tmp_path: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = make("ci-gate", expect=2, **away)
    assert not (BUILD / "challenger").exists()
    assert done.stderr.startswith("error: tracking store ")


@pytest.fixture(scope="module")
def serving(champion_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield a real server of the champion, which may not be ready yet."""
    ports = {name: free_port() for name in ("http", "grpc", "metrics")}
    log = (tmp_path_factory.mktemp("server") / "log").open("wb")
    # MLflow leaves the store that it was last told about in the environment.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "reviews_parsing.cli", "serve"),
            *(f"--{name}-port={port}" for name, port in ports.items()),
        ],
        env={**clean, "REVIEWS_PARSING_HOME": str(champion_home), "PYTHONPATH": str(PROJECT / "src")},
        stdout=log,
        stderr=log,
    )
    yield f"http://127.0.0.1:{ports['http']}"
    server.kill()
    server.wait()
    log.close()


def test_smoke_test_of_a_real_server(serving: str) -> None:
    done = make("ci-smoke", CANARY_URL=serving, CHALLENGER="1")
    assert "5 correct answers (version 1: 5)" in done.stdout
    done = make("ci-smoke", expect=2, CANARY_URL=serving, CHALLENGER="2")
    assert "0 of 400 answers came from version 2" in done.stderr


@contextmanager
def answering(answer: Callable[[str, bytes], tuple[int, object]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the address of a local server that answers JSON, and the list of its requests."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            status, form = answer(self.path, body)
            content = json.dumps(form).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "aspects",
    [
        [],
        [{"entity_group": "FOOD", "score": 0.9, "word": "waiter", "start": 4, "end": 12}],
        [{"entity_group": "FOOD", "score": 0.9, "word": "waiter", "start": 4, "end": 12, "polarity": "positive"}],
    ],
)
def test_smoke_test_fails_where_answers_are_wrong(aspects: list[dict[str, Any]]) -> None:
    for aspect in aspects[2:]:
        aspect["polarity_score"] = 0.9
    form = {"model_version": "1", "outputs": [{"data": [json.dumps(aspects)]}]}
    with answering(lambda path, body: (200, form)) as (address, _):
        done = make("ci-smoke", expect=2, CANARY_URL=address, CHALLENGER="1")
    assert "was answered with" in done.stderr


def test_notify_tells_how_it_ended() -> None:
    told: dict[str, Any] = {
        "RESULT": "SUCCESS",
        "CHALLENGER": "2",
        "APPROVER": "ada",
        "COMPARISON": "a table",
        "BUILD_URL": "http://x",
    }
    with answering(lambda path, body: (200, {})) as (address, requests):
        make("ci-notify", NOTIFY_URL=f"{address}/hook/secret", **told)
    [request] = requests
    assert request["path"] == "/hook/secret"
    text = json.loads(request["body"])["text"]
    assert text == "Reviews Parsing: SUCCESS, version 2, approved by ada\nhttp://x\n```\na table\n```"
    with answering(lambda path, body: (500, {})) as (address, _):
        done = make("ci-notify", expect=2, NOTIFY_URL=f"{address}/hook/secret", **told)
    assert "failed: 500" in done.stderr
    assert "secret" not in done.stdout + done.stderr


PREDICATES = {
    "https://slsa.dev/provenance/v1": {"buildDefinition": {"buildType": "BuildKit"}},
    "https://spdx.dev/Document": {"spdxVersion": "SPDX-2.3"},
}


def write_layout(folder: Path, predicates: dict[str, Any] = PREDICATES) -> str:
    """Write an image with attestations of BuildKit as an OCI layout; return the digest of its index."""

    def blob(content: dict[str, Any]) -> str:
        data = json.dumps(content).encode()
        name = hashlib.sha256(data).hexdigest()
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / "sha256" / name).write_bytes(data)
        return f"sha256:{name}"

    statements = [{"predicateType": kind, "predicate": predicate} for kind, predicate in predicates.items()]
    layers = [{"mediaType": "application/vnd.in-toto+json", "digest": blob(statement)} for statement in statements]
    annotations = {"vnd.docker.reference.type": "attestation-manifest"}
    manifests: list[dict[str, Any]] = [{"digest": blob({"layers": []}), "platform": {"architecture": "amd64"}}]
    manifests.append({"digest": blob({"layers": layers}), "annotations": annotations})
    return blob({"manifests": manifests})


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Replace buildctl and cosign by programs that record their calls; return a function that reads the calls."""
    note = f'#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@" >> {tmp_path}/calls\n'
    digest = write_layout(tmp_path / "layout")
    form = json.dumps({"containerimage.digest": digest})
    save = f'if [ "$1" = save ]; then cp -r {tmp_path}/layout/. "$5"; fi\n'
    (tmp_path / "bin").mkdir()
    built = f"for option; do case $option in --metadata-file=*) echo '{form}' > \"${{option#*=}}\" ;; esac; done\n"
    for name, does in (("buildctl", built), ("cosign", save)):
        (tmp_path / "bin" / name).write_text(note + does)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return lambda: (tmp_path / "calls").read_text().splitlines()


def test_image_is_pushed_and_signed_with_sbom_and_provenance(builders: Callable[[], list[str]], tmp_path: Path) -> None:
    digest = write_layout(tmp_path / "layout")
    repository = "europe-docker.pkg.dev/project/images/reviews-parsing-ner-aspects"
    with answering(lambda path, body: (200, {"access_token": "t0k"})) as (address, requests):
        docker: dict[str, Any] = {"REGISTRY_TOKEN_URL": address, "DOCKER_CONFIG": str(tmp_path / "docker")}
        make("ci-image", IMAGE=repository, COSIGN_KEY="gcpkms://key", **docker)
    assert requests[0]["headers"]["Metadata-Flavor"] == "Google"
    login = json.loads((tmp_path / "docker" / "config.json").read_text())["auths"]["europe-docker.pkg.dev"]["auth"]
    assert base64.b64decode(login) == b"oauth2accesstoken:t0k"
    calls = builders()
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"--output=type=image,name={repository}:{revision.stdout[:12]},push=true" in calls
    assert f"--opt=label:org.opencontainers.image.revision={revision.stdout.strip()}" in calls
    assert any(call.startswith("attest:sbom=generator=docker.io/docker/buildkit-syft-scanner:") for call in calls)
    assert any(call.startswith("attest:provenance=mode=max") for call in calls)
    commands = " ".join(calls).split("cosign ")[1:]
    assert [command.split()[0] for command in commands] == ["save", "attest", "attest", "sign"]
    for command in commands:
        assert command.split()[-1] == f"{repository}@{digest}"
    for command, (kind, predicate) in zip(commands[1:3], PREDICATES.items(), strict=True):
        options = command.split()
        assert options[options.index("--type") + 1] == kind
        assert json.loads(Path(options[options.index("--predicate") + 1]).read_text()) == predicate
    for command in commands[1:]:
        assert "--yes --key gcpkms://key" in command
        # What Kyverno reads, also in a registry without the referrers API.
        assert "--new-bundle-format=false" in command
    assert left("image.txt") == f"{repository}@{digest}\n"


def test_image_without_provenance_is_not_signed(builders: Callable[[], list[str]], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "layout")
    digest = write_layout(tmp_path / "layout", {"https://spdx.dev/Document": {}})
    builder = tmp_path / "bin" / "buildctl"
    builder.write_text(re.sub("sha256:[0-9a-f]{64}", digest, builder.read_text()))
    done = make("ci-image", expect=2, IMAGE="registry:5000/x", COSIGN_KEY="gcpkms://key")
    assert "attached no https://slsa.dev/provenance/v1" in done.stderr
    assert "sign" not in builders()


def test_images_of_page_report_and_retraining_are_pushed_and_signed_where_asked_for(
    builders: Callable[[], list[str]], tmp_path: Path
) -> None:
    digest = write_layout(tmp_path / "layout")
    make("ci-image", IMAGE="registry.example/a/reviews-parsing-ner-aspects", COSIGN_KEY="kms://k", IMAGES="tools train")
    for name in ("tools", "train"):
        pinned = f"registry.example/a/reviews-parsing-{name}@{digest}"
        assert left(f"image.{name}.txt") == f"{pinned}\n"
        assert f"dockerfile={PROJECT}/deploy/{name}" in builders()
        assert (PROJECT / "deploy" / name / "Dockerfile").is_file()
    assert [call for call in " ".join(builders()).split("cosign ")[1:] if call.startswith("sign ")][1].endswith(pinned)
    done = make("ci-image", expect=2, IMAGE="x/y", COSIGN_KEY="kms://k", IMAGES="server sever")
    assert "IMAGES names sever; known are server, tools, train" in done.stderr


def load_stages() -> Any:
    """Return the module scripts/ci.py."""
    specification = importlib.util.spec_from_file_location("stages", PROJECT / "scripts" / "ci.py")
    assert specification is not None
    assert specification.loader is not None
    stages = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(stages)
    return stages


def test_gate_does_not_offer_a_version_that_was_rolled_back(with_champion: Path, tmp_path: Path) -> None:
    registry.set_champion(another_version(tmp_path, lambda form: None), {})
    registry.rollback()
    load_stages().gate()
    assert left("challenger") == ""
    assert "rolled back, not offered again: version 2; there is nothing to roll out" in left("comparison.txt")


def test_a_job_of_github_pushes_with_a_token_of_google_in_exchange_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = "projects/1/locations/global/workloadIdentityPools/p/providers/actions"

    def answer(path: str, body: bytes) -> tuple[int, object]:
        return 200, {"access_token": "google's"} if body else {"value": "github's"}

    stages = load_stages()
    with answering(answer) as (address, requests):
        monkeypatch.setattr(stages, "STS", f"{address}/v1/token")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{address}/token?api-version=2.0")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of the job")
        monkeypatch.setenv("GOOGLE_PROVIDER", provider)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        stages.log_in("europe-docker.pkg.dev")
    of_github, of_google = requests
    assert of_github["headers"]["Authorization"] == "Bearer of the job"
    [audience] = parse_qs(urlsplit(of_github["path"]).query)["audience"]
    assert audience == f"https://iam.googleapis.com/{provider}"
    exchanged = json.loads(of_google["body"])
    assert (exchanged["audience"], exchanged["subjectToken"]) == (f"//iam.googleapis.com/{provider}", "github's")
    file = tmp_path / "docker" / "config.json"
    login = json.loads(file.read_text())["auths"]["europe-docker.pkg.dev"]["auth"]
    assert base64.b64decode(login) == b"oauth2accesstoken:google's"
    assert file.stat().st_mode & 0o077 == 0


def test_image_goes_to_a_registry_without_tls_only_where_told(
    builders: Callable[[], list[str]], tmp_path: Path
) -> None:
    key = tmp_path / "cosign.key"
    done = make("ci-image", expect=2, IMAGE="registry:5000/x", COSIGN_KEY=str(key))
    assert "no key to sign with" in done.stderr
    key.touch()
    make("ci-image", IMAGE="registry:5000/x", COSIGN_KEY=str(key), REGISTRY_HTTP="true")
    assert any(call.endswith("push=true,registry.insecure=true") for call in builders())
    assert "--allow-http-registry" in builders()


GIVEN = {
    "agentImage": "registry.example/reviews-parsing-ci:1",
    "image": "registry.example/reviews-parsing-ner-aspects",
    "repository": {"url": "https://git.example/reviews-parsing.git", "branch": "main", "private": True},
}
JOBS_ON = {"retrain": {"schedule": "H 2 * * *", "options": "--every 7d"}, "championWebhook": True}


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((JENKINS / "values.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def expanded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the texts that the chart passes through `tpl`, rendered by Helm."""
    return expand(tmp_path_factory.mktemp("chart"), GIVEN)


def expand(chart: Path, given: Mapping[str, Any]) -> dict[str, str]:
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: jenkins\nversion: 1.0.0\n")
    (chart / "values.yaml").write_text((JENKINS / "values.yaml").read_text(encoding="utf-8"))
    (chart / "templates").mkdir()
    texts = {f"script-{name}": f".Values.controller.JCasC.configScripts.{name}" for name in ("credentials", "jobs")}
    texts["pods"] = '(index .Values.agent.podTemplates "reviews-parsing")'
    for name, text in texts.items():
        (chart / "templates" / f"{name}.yaml").write_text(f"text: |-\n{{{{ tpl {text} $ | indent 2 }}}}\n")
    with helm_python.Chart.load(str(chart)) as loaded:
        rendered = loaded.render(dict(given), name="jenkins", namespace="jenkins")
    return {Path(name).stem: yaml.safe_load(text)["text"] for name, text in rendered.items()}


@pytest.fixture(scope="module")
def pods(expanded: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the pods of the agents, by label, with their namespaces."""
    found = {}
    for template in yaml.safe_load(expanded["pods"]):
        pod = yaml.safe_load(template["yaml"])
        pod["metadata"] |= {"name": template["name"], "namespace": template["namespace"]}
        found[template["label"]] = pod
    return found


def test_agents_are_those_that_the_jenkinsfile_asks_for(
    pipeline: list[Call], pods: Mapping[str, dict[str, Any]]
) -> None:
    asked = {call["arguments"][0] for call in deep(pipeline, "label")}
    asked |= {call["arguments"][0] for call in deep(pipeline, "node")}
    asked |= {call["arguments"][0] for calls in JOBS.values() for call in deep(calls(), "label")}
    assert asked == set(pods)


def test_agents_are_no_root_have_limits_and_come_from_pinned_images(pods: Mapping[str, dict[str, Any]]) -> None:
    for label, pod in pods.items():
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["automountServiceAccountToken"] is False
        assert "jnlp" in {container["name"] for container in spec["containers"]}
        for container in spec["containers"]:
            assert re.search(r":[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?$", container["image"]), container["image"]
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), label
            context = container["securityContext"]
            assert context.get("runAsUser") != 0
            if container["name"] == "jnlp":
                assert context["readOnlyRootFilesystem"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["capabilities"] == {"drop": ["ALL"]}


def test_one_agent_has_a_token_and_it_is_short_lived(pods: Mapping[str, dict[str, Any]]) -> None:
    lifetimes = {
        label: source["serviceAccountToken"]["expirationSeconds"]
        for label, pod in pods.items()
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    }
    assert lifetimes == {"reviews-parsing-rollout": 600}


def test_agents_have_only_the_secrets_of_their_stages(pods: Mapping[str, dict[str, Any]]) -> None:
    used = {}
    for label, pod in pods.items():
        names = {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    names.add(variable["valueFrom"]["secretKeyRef"]["name"])
                else:
                    assert not re.search("PASSWORD|TOKEN$|SECRET", variable["name"])
        used[label.removeprefix("reviews-parsing-")] = names
    assert used == {
        "test": set(),
        "image": {"cosign", "registry-credentials"},
        "gate": {"mlflow-gate", "mlflow-ca"},
        "rollout": {"mlflow-rollout", "mlflow-ca"},
        "retrain": {"mlflow-retrain", "mlflow-ca"},
        "notify": {"notify"},
    }


def test_jobs_verify_models_and_only_the_retraining_has_the_key(tmp_path: Path) -> None:
    texts = expand(tmp_path, {**GIVEN, "signModels": True})
    for template in yaml.safe_load(texts["pods"]):
        pod = yaml.safe_load(template["yaml"])["spec"]
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", "spec": pod}, KUBERNETES, strict=True)
        [agent] = [container for container in pod["containers"] if container["name"] == "jnlp"]
        variables = {variable["name"]: variable.get("value") for variable in agent["env"]}
        secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
        mounts = {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"]}
        job = template["name"].removeprefix("reviews-parsing-")
        if job not in ("gate", "rollout", "retrain"):
            assert "model-signing" not in secrets
            continue
        files = {f"{mounts['model-signing']}/{item['path']}" for item in secrets["model-signing"]["items"]}
        used = {
            variables[name] for name in ("REVIEWS_PARSING_TRUST", "REVIEWS_PARSING_SIGNING_KEY") if name in variables
        }
        assert files == used
        assert len(files) == (2 if job == "retrain" else 1)


def test_configuration_has_no_anonymous_user_and_credentials_by_reference(
    values: dict[str, Any], expanded: dict[str, str]
) -> None:
    assert "allowAnonymousRead: false" in values["controller"]["JCasC"]["authorizationStrategy"]
    assert values["controller"]["admin"] == {"existingSecret": "jenkins-admin"}
    [credentials] = yaml.safe_load(expanded["script-credentials"])["credentials"]["system"]["domainCredentials"]
    secrets = [
        value
        for entry in credentials["credentials"]
        for form in entry.values()
        for name, value in form.items()
        if name in ("secret", "username", "password")
    ]
    assert secrets == ["${repository-webhook-token}", "${repository-username}", "${repository-password}"]


def test_the_job_comes_from_the_repository_and_its_webhook(expanded: dict[str, str], tmp_path: Path) -> None:
    [job] = yaml.safe_load(expanded["script-jobs"])["jobs"]
    (tmp_path / "job.groovy").write_text(job["script"])
    [pipeline_job] = walked(tmp_path / "job.groovy")
    inside = pipeline_job["calls"]
    assert pipeline_job["name"] == "pipelineJob"
    assert [call["arguments"] for call in deep(inside, "url")] == [[GIVEN["repository"]["url"]]]  # type: ignore[index]
    assert [call["arguments"] for call in deep(inside, "scriptPath")] == [["Jenkinsfile"]]
    [trigger] = deep(inside, "genericTrigger")
    assert [call["arguments"] for call in named(trigger["calls"], "tokenCredentialId")] == [["repository-webhook"]]
    assert [call["arguments"] for call in named(trigger["calls"], "regexpFilterExpression")] == [["^refs/heads/main$"]]


def test_a_schedule_makes_the_job_that_retrains(tmp_path: Path) -> None:
    texts = expand(tmp_path, {**GIVEN, **JOBS_ON})
    scripts = [job["script"] for job in yaml.safe_load(texts["script-jobs"])["jobs"]]
    assert len(scripts) == 3
    (tmp_path / "job.groovy").write_text(scripts[1])
    [job] = walked(tmp_path / "job.groovy")
    assert job["arguments"][0] == "reviews-parsing-retrain"
    assert [call["arguments"] for call in deep(job["calls"], "spec")] == [["H 2 * * *"]]
    [script] = [call["arguments"][0] for call in deep(job["calls"], "scriptPath")]
    assert (PROJECT / script).is_file()
    [pod] = [yaml.safe_load(t["yaml"]) for t in yaml.safe_load(texts["pods"]) if t["name"].endswith("-retrain")]
    variables = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert variables["RETRAIN"] == "--every 7d"


def test_the_webhook_of_mlflow_starts_the_job_that_rolls_out_the_champion(tmp_path: Path) -> None:
    """The variables and the filter of the job, on the payload that MLflow sends."""
    texts = expand(tmp_path, {**GIVEN, **JOBS_ON})
    (tmp_path / "job.groovy").write_text(yaml.safe_load(texts["script-jobs"])["jobs"][2]["script"])
    [job] = walked(tmp_path / "job.groovy")
    assert job["arguments"][0] == "reviews-parsing-champion"
    [trigger] = deep(job["calls"], "genericTrigger")
    paths = [
        (named(variable["calls"], "key")[0]["arguments"][0], named(variable["calls"], "value")[0]["arguments"][0])
        for variable in deep(trigger["calls"], "genericVariable")
    ]
    [text] = [call["arguments"][0] for call in named(trigger["calls"], "regexpFilterText")]
    [expression] = [call["arguments"][0] for call in named(trigger["calls"], "regexpFilterExpression")]
    event = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)

    def starts(**changes: str) -> bool:
        data = {**get_example_payload_for_event(event), "name": MODEL_NAME, "alias": CHAMPION, **changes}
        payload = {"entity": event.entity.value, "action": event.action.value, "data": data}
        filled = text
        for key, path in paths:
            value: Any = payload
            for part in path.removeprefix("$.").split("."):
                value = value[part]
            filled = filled.replace(f"${key}", value)
        return re.search(expression, filled) is not None

    assert starts()
    assert not starts(alias="challenger")
    assert not starts(name=f"{MODEL_NAME}-gym")
    secrets = yaml.safe_load(texts["script-credentials"])["credentials"]["system"]["domainCredentials"][0]
    tokens = {form["id"]: form["secret"] for e in secrets["credentials"] for form in e.values() if "secret" in form}
    [credential] = [call["arguments"][0] for call in named(trigger["calls"], "tokenCredentialId")]
    assert tokens[credential] == "${mlflow-webhook-token}"


def test_controller_and_plugins_are_pinned(values: dict[str, Any]) -> None:
    controller = values["controller"]
    assert re.fullmatch(r"2\.\d+\.\d+-jdk21@sha256:[0-9a-f]{64}", controller["image"]["tag"])
    assert controller["installLatestPlugins"] is False
    assert all(re.fullmatch(r"[a-z-]+:\d[\w.-]*", plugin) for plugin in controller["installPlugins"])


def test_the_agents_image_has_the_buildkit_that_the_builds_have(pods: Mapping[str, dict[str, Any]]) -> None:
    stages = re.findall(r"^FROM (\S+)", (JENKINS / "agent" / "Dockerfile").read_text(), re.MULTILINE)
    assert all(re.search(r":[\w.-]*\d", image) for image in stages)
    [daemon] = [c for c in pods["reviews-parsing-image"]["spec"]["containers"] if c["name"] == "buildkitd"]
    assert daemon["image"] in stages


@pytest.fixture(scope="module")
def rights() -> list[dict[str, Any]]:
    return [
        document
        for file in sorted((JENKINS / "k8s-auth").glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]


def test_rights_are_valid_and_in_these_namespaces_only(
    rights: list[dict[str, Any]], pods: Mapping[str, dict[str, Any]]
) -> None:
    for document in rights:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = {document["kind"] for document in rights}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding", "Secret"}
    roles = {(d["metadata"]["namespace"], d["metadata"]["name"]): d["rules"] for d in rights if d["kind"] == "Role"}
    assert {namespace for namespace, _ in roles} == {"jenkins-agents", "jenkins-builds", "reviews-parsing"}
    for rule in (rule for rules in roles.values() for rule in rules):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"secrets", "pods/exec", "serviceaccounts/token"} & set(rule["resources"])
    bound = {
        (d["metadata"]["namespace"], d["roleRef"]["name"]): d["subjects"] for d in rights if d["kind"] == "RoleBinding"
    }
    assert set(bound) == set(roles)
    assert [(s["namespace"], s["name"]) for s in bound["reviews-parsing", "rollout"]] == [("jenkins-agents", "rollout")]
    accounts = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in rights if d["kind"] == "ServiceAccount"}
    used = {(pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]) for pod in pods.values()}
    assert {account for account in used if account[1] != "default"} == accounts


def test_builds_may_do_no_more_than_buildkit_needs(
    rights: list[dict[str, Any]], pods: Mapping[str, dict[str, Any]]
) -> None:
    [policy] = [d for d in rights if d["kind"] == "ValidatingAdmissionPolicy"]
    pod = pods["reviews-parsing-image"]
    assert refusals(policy, pod) == []
    root, more, node, paths = [rule["message"] for rule in policy["spec"]["validations"]]
    worse: list[tuple[str, dict[str, Any]]] = [
        (root, {"securityContext": {}}),
        (more, {"containers": [{"securityContext": {"privileged": True}}]}),
        (more, {"containers": [{"securityContext": {"runAsUser": 0}}]}),
        (more, {"containers": [{"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}),
        (more, {"initContainers": [{"securityContext": {"privileged": True}}]}),
        (more, {"ephemeralContainers": [{"securityContext": {"privileged": True}}]}),
        (node, {"hostNetwork": True}),
        (node, {"hostPID": True}),
        (paths, {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
        (paths, {"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}),
    ]
    for message, spec in worse:
        assert refusals(policy, {**pod, "spec": pod["spec"] | spec}) == [message]


@pytest.fixture
def cluster(with_champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Yield a cluster that serves version 1, which is champion; version 2, as good, is in the registry."""
    another_version(tmp_path, lambda form: None)
    running = Cluster()
    known_to(running.url, TOKEN, tmp_path, monkeypatch)
    yield running
    running.close()
    assert running.lost == []


def asked(cluster: Cluster) -> set[tuple[str, str, str, str]]:
    """Return the requests to an API server: verb, group, resource and name, all of them in one namespace."""
    verbs = {"GET": "get", "PATCH": "patch"}
    found = set()
    for request in cluster.requests:
        method, path = request.split("?")[0].split()
        group, _, rest = path.removeprefix("/apis/").partition("/") if path.startswith("/apis/") else ("", "", path[5:])
        _, namespaces, namespace, resource, name = rest.split("/")
        assert (namespaces, namespace) == ("namespaces", NAMESPACE)
        found.add((verbs[method], group, resource, name))
    return found


SIGNED = f"registry.example/reviews-parsing-ner-aspects@{DIGEST}"


def test_what_was_signed_is_what_pods_run(cluster: Cluster, stages: dict[str, Call]) -> None:
    assert named(stages["Deploy"]["calls"], "when")
    assert "env.SIGNED_IMAGE = readFile('build/image.txt')" in (PROJECT / "Jenkinsfile").read_text(encoding="utf-8")

    def images() -> dict[str, str]:
        return {name: t["spec"]["containers"][0]["image"] for name, t in cluster.templates().items()}

    make("ci-canary", CHALLENGER="2", SIGNED_IMAGE=SIGNED)
    assert images()[f"{MODEL_NAME}-v2-predictor"] == SIGNED != images()[f"{MODEL_NAME}-predictor"]
    make("ci-promote", CHALLENGER="2")
    assert images() == {f"{MODEL_NAME}-predictor": SIGNED}
    newer = SIGNED.replace("aaaa", "bbbb")
    make("ci-deploy", SIGNED_IMAGE=newer)
    assert images() == {f"{MODEL_NAME}-predictor": newer}
    assert cluster.pods() == {"predictor": model("2")}


def test_the_champion_is_rolled_out_and_a_second_call_changes_nothing(cluster: Cluster) -> None:
    registry.set_champion("2", {})
    make("ci-champion")
    assert cluster.pods() == {"predictor": model("2")}
    assert "serves version 2 already" in make("ci-champion").stderr


def test_retrain_without_a_trigger_does_nothing(with_champion: Path) -> None:
    done = make("ci-retrain", REVIEWS_PARSING_HOME=str(with_champion), RETRAIN="--every 3650d")
    assert "idle: the last training was" in done.stdout


def test_canary_promotion_and_undo_need_exactly_the_rights_that_they_have(
    cluster: Cluster, rights: list[dict[str, Any]]
) -> None:
    told: dict[str, Any] = {"CHALLENGER": "2"}
    make("ci-canary", **told)
    assert cluster.pods() == {"predictor": model("1"), "v2-predictor": model("2")}
    make("ci-undo", **told)
    assert cluster.pods() == {"predictor": model("1")}

    make("ci-canary", **told)
    cluster.comparison = {"comparison.json": '{"version": "2"}'}
    assert "there is nothing to undo" in make("ci-undo", CHALLENGER="3").stdout
    make("ci-promote", **told)
    assert cluster.pods() == {"predictor": model("2")}
    assert registry.champion() == "2"
    make("ci-undo", **told)  # as where the registry had failed after the promotion
    assert cluster.pods() == {"predictor": model("1")}

    [rules] = [d["rules"] for d in rights if d["kind"] == "Role" and d["metadata"]["namespace"] == NAMESPACE]
    used = asked(cluster)
    for verb, group, resource, name in used:
        assert any(
            verb in rule["verbs"]
            and group in rule["apiGroups"]
            and resource in rule["resources"]
            and name in rule.get("resourceNames", [name])
            for rule in rules
        ), (verb, group, resource, name)
    granted = {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted == {right[:3] for right in used}
    for rule in rules:
        assert set(rule.get("resourceNames", [])) <= {name for *_, name in used}

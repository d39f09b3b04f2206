"""Stages of the Jenkinsfile that need more than a line of the Makefile: image, gate, undo, notify.

Takes the name of the stage; other parameters come from the environment, and results are written under build/. Only
`gate` and `undo` need the project installed: the agents of the other stages have only Python.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

PROJECT = Path(__file__).resolve().parent.parent
DOCKERFILE = PROJECT / "models" / "reviews-parsing-ner-aspects"
BUILD = PROJECT / "build"
SCANNER = (
    "docker.io/docker/buildkit-syft-scanner:1.12.0"
    "@sha256:ae4f3b554449e7e25548e7d8ccc029d17357348e30c6e3df01b92bc93654d6a9"
)
# Names by predicate type of what is attached to the image and signed.
ATTESTATIONS = {"https://slsa.dev/provenance/v1": "provenance", "https://spdx.dev/Document": "sbom"}
TIMEOUT = 20.0
STS = "https://sts.googleapis.com/v1/token"


def image() -> None:
    """Build the image without root or a Docker daemon, push it with SBOM and provenance, and sign all three.

    IMAGE is the repository to push to, COSIGN_KEY a key file or a KMS address; REGISTRY_HTTP allows a registry without
    TLS. BuildKit attaches SBOM and provenance to the index; they are signed as attestations of their own too, which
    admission controllers read. Signatures are not uploaded to a public transparency log, because the name of the image
    may be confidential, and have the format that registries without the referrers API keep and Kyverno reads.
    """
    repository, key = require_variable("IMAGE"), require_variable("COSIGN_KEY")
    if "://" not in key and not Path(key).is_file():
        sys.exit(f"error: no key to sign with at {key}; make one: cosign generate-key-pair k8s://jenkins-builds/cosign")
    log_in(repository.split("/")[0])
    plain = bool(os.environ.get("REGISTRY_HTTP"))
    revision = output("git", "rev-parse", "HEAD")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = {
        "version": project["version"],
        "revision": revision,
        "created": output("git", "show", "--no-patch", "--format=%cI", "HEAD"),
    }
    metadata = BUILD / "image.json"
    BUILD.mkdir(exist_ok=True)
    options = {
        "frontend": "dockerfile.v0",
        "progress": "plain",
        "metadata-file": str(metadata),
        "output": f"type=image,name={repository}:{revision[:12]},push=true" + ",registry.insecure=true" * plain,
    }
    details = [
        *("--local", f"context={PROJECT}", "--local", f"dockerfile={DOCKERFILE}"),
        *(f"--opt=label:org.opencontainers.image.{name}={value}" for name, value in labels.items()),
        *("--opt", f"attest:sbom=generator={SCANNER}", "--opt", "attest:provenance=mode=max,version=v1"),
    ]
    run("buildctl", "build", *(f"--{name}={value}" for name, value in options.items()), *details)
    digest = json.loads(metadata.read_text(encoding="utf-8"))["containerimage.digest"]
    pinned = f"{repository}@{digest}"
    insecure = ["--allow-http-registry"] * plain
    with tempfile.TemporaryDirectory() as layout:
        run("cosign", "save", "--timeout", "10m", "--dir", layout, *insecure, pinned)
        attestations = read_attestations(Path(layout), digest)
    form = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", *insecure)
    for kind, predicate in attestations.items():
        file = BUILD / f"image.{ATTESTATIONS[kind]}.json"
        file.write_text(json.dumps(predicate), encoding="utf-8")
        run("cosign", "attest", "--yes", "--key", key, "--type", kind, "--predicate", str(file), *form, pinned)
    # Last, so that an image with a signature has everything.
    run("cosign", "sign", "--yes", "--key", key, *form, pinned)
    leave("image.txt", pinned)


def read_attestations(layout: Path, digest: str) -> dict[str, object]:
    """Return the predicates of an image by type, from an OCI layout. Exits if one of `ATTESTATIONS` is missing."""

    def blob(descriptor: Mapping[str, str]) -> dict[str, Any]:
        algorithm, name = descriptor["digest"].split(":")
        content: dict[str, Any] = json.loads((layout / "blobs" / algorithm / name).read_text(encoding="utf-8"))
        return content

    predicates = {}
    for manifest in blob({"digest": digest}).get("manifests", []):
        if manifest.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest":
            for layer in blob(manifest)["layers"]:
                statement = blob(layer)
                predicates[statement["predicateType"]] = statement["predicate"]
    if missing := ATTESTATIONS.keys() - predicates.keys():
        sys.exit(f"error: BuildKit attached no {' and no '.join(sorted(missing))} to the image")
    return {kind: predicates[kind] for kind in ATTESTATIONS}


def log_in(registry: str) -> None:
    """Write a registry token to DOCKER_CONFIG, whose mounted credentials are used if there is nothing to get one from.

    A token, valid for an hour, comes from REGISTRY_TOKEN_URL (a cloud's metadata server), or from Google in exchange
    for that of a job of GitHub Actions, if GOOGLE_PROVIDER names the provider of a workload identity pool.
    """
    if provider := os.environ.get("GOOGLE_PROVIDER"):
        token = exchange_token(provider)
    elif address := os.environ.get("REGISTRY_TOKEN_URL"):
        token = json.loads(ask(address, headers={"Metadata-Flavor": "Google"}))["access_token"]
    else:
        return
    user = base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode()
    target = Path(require_variable("DOCKER_CONFIG")) / "config.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    target.write_text(json.dumps({"auths": {registry: {"auth": user}}}), encoding="utf-8")


def exchange_token(provider: str) -> str:
    """Return Google's access token for this job of GitHub Actions, whose permissions include `id-token: write`."""
    audience = f"//iam.googleapis.com/{provider}"
    address = f"{require_variable('ACTIONS_ID_TOKEN_REQUEST_URL')}&audience={quote(f'https:{audience}', safe='')}"
    authorization = f"Bearer {require_variable('ACTIONS_ID_TOKEN_REQUEST_TOKEN')}"
    identity = json.loads(ask(address, headers={"Authorization": authorization}))["value"]
    request = {
        "audience": audience,
        "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "subjectToken": identity,
        "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
    }
    headers = {"Content-Type": "application/json"}
    return str(json.loads(ask(STS, json.dumps(request).encode(), headers))["access_token"])


def gate() -> None:
    """Compare the newest version with the champion; write its number to build/challenger if it passes, else nothing.

    A version that was rolled back is not offered again.
    """
    from reviews_parsing import pipelines, registry
    from reviews_parsing.cli import output as printed

    version = registry.challenger()
    if version is None:
        leave("challenger", "")
        words = "no version is newer than the champion"
        if rolled_back := registry.read_champion().rolled_back:
            words += f"; rolled back, not offered again: version {', '.join(rolled_back)}"
        leave("comparison.txt", f"{words}; there is nothing to roll out")
        return
    verdict = pipelines.promote(version=version, dry_run=True)
    with printed.out.capture() as table:
        printed.verdict(verdict, dry_run=True)
    leave("comparison.txt", table.get())
    form = printed.verdict_form(verdict, dry_run=True)
    (BUILD / "comparison.json").write_text(json.dumps(form, indent=2), encoding="utf-8")
    leave("challenger", version if verdict.promoted else "")


def undo() -> None:
    """Undo the canary or the promotion of this pipeline, but no other rollout."""
    from reviews_parsing import rollout
    from reviews_parsing.settings import Settings

    challenger = require_variable("CHALLENGER")
    service = rollout.Service(Settings().service, Settings().namespace)
    canary = rollout.status(service).plan.canary
    if (canary and canary.version == challenger) or (BUILD / "promoted").exists():
        rollout.undo(service)
    else:
        print(f"version {challenger} gets no requests: there is nothing to undo")


def notify() -> None:
    """Post the result to NOTIFY_URL, a webhook that takes {"text": ...} (Slack, Mattermost, Google Chat, ...)."""
    variables = {
        name: os.environ.get(name, "") for name in ("RESULT", "BUILD_URL", "CHALLENGER", "APPROVER", "COMPARISON")
    }
    text = f"Reviews Parsing: {variables['RESULT'] or 'ended'}"
    if variables["CHALLENGER"]:
        text += f", version {variables['CHALLENGER']}"
        text += f", approved by {variables['APPROVER']}" if variables["APPROVER"] else ", not approved"
    text += f"\n{variables['BUILD_URL']}" if variables["BUILD_URL"] else ""
    text += f"\n```\n{variables['COMPARISON'].strip()}\n```" if variables["COMPARISON"] else ""
    print(text)
    address = os.environ.get("NOTIFY_URL")
    if address:
        ask(address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"})


def ask(address: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the body of the response. An error exits with a line that omits the address, which may hold a secret."""
    try:
        with urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(address, body, dict(headers or {})),  # noqa: S310
            timeout=TIMEOUT,
        ) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        reason = getattr(error, "code", None) or getattr(error, "reason", error)
        sys.exit(f"error: the call of {sys.argv[1]} to the network failed: {reason}")


def require_variable(name: str) -> str:
    """Return the value of a required environment variable."""
    value = os.environ.get(name)
    if not value:
        sys.exit(f"error: {name} is not set; the agent's pod sets it (deploy/services/jenkins/values.yaml)")
    return value


def run(*command: str) -> None:
    """Run a program that prints to the log of the stage; exit if it fails."""
    finished = subprocess.run(command, cwd=PROJECT, check=False)
    if finished.returncode != 0:
        sys.exit(f"error: {command[0]} ended with status {finished.returncode}; see above")


def output(*command: str) -> str:
    """Return the standard output of a program; exit if it fails."""
    finished = subprocess.run(command, cwd=PROJECT, check=False, stdout=subprocess.PIPE, text=True)
    if finished.returncode != 0:
        sys.exit(f"error: {command[0]} ended with status {finished.returncode}; see above")
    return finished.stdout.strip()


def leave(name: str, text: str) -> None:
    """Write a file under build/ and print its content."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / name).write_text(text + "\n" if text else "", encoding="utf-8")
    print(f"build/{name}: {text or '(empty)'}")


STAGES = {"image": image, "gate": gate, "undo": undo, "notify": notify}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(STAGES)}")
    try:
        STAGES[sys.argv[1]]()
    except Exception as error:
        # The package, where it is installed, explains its errors by itself.
        if type(error).__module__ != "reviews_parsing.errors":
            raise
        sys.exit(f"error: {error}")

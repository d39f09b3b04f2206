"""Static checks of manifests: missing settings and forbidden content."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from .rendering import Manifest, of_kind


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that these manifests lead to, by what leads to it; an InferenceService's is whole, with its runtime."""
    runtimes = {m["metadata"]["name"]: m["spec"] for m in of_kind(manifests, "ServingRuntime")}
    for manifest in manifests:
        kind, spec = manifest["kind"], manifest.get("spec", {})
        where = f"{kind}/{manifest['metadata']['name']}"
        if kind == "InferenceService":
            yield where, _predictor(spec["predictor"], runtimes)
        elif kind == "Pod":
            yield where, spec
        elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield where, spec["template"]["spec"]
        elif kind == "CronJob":
            yield where, spec["jobTemplate"]["spec"]["template"]["spec"]


def _predictor(predictor: dict[str, Any], runtimes: dict[str, Any]) -> dict[str, Any]:
    spec = copy.deepcopy(predictor)
    model = spec.pop("model")
    container = copy.deepcopy(runtimes[model["runtime"]]["containers"][0])
    for variable in model.get("env", []):
        container["env"] = [e for e in container["env"] if e["name"] != variable["name"]] + [variable]
    return {**spec, "containers": [container]}


def complaints(manifests: list[Manifest]) -> list[str]:
    """Return the missing settings and the forbidden content of manifests, one line each."""
    return [
        *(f"{where}: {words}" for where, spec in pods(manifests) for words in _of_pod(spec)),
        *(f"{m['kind']}/{m['metadata']['name']}: {words}" for m in manifests for words in _credentials(m)),
    ]


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    whole = spec.get("securityContext") or {}
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a service account's token"
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares the node's network or processes"
    if any("hostPath" in volume for volume in spec.get("volumes", [])):
        yield "mounts a folder of the node"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"{container['name']} {words}" for words in _of_container(container, whole))
    # Jobs end by themselves; whatever does not must say how it is.
    for container in spec["containers"] if spec.get("restartPolicy", "Always") == "Always" else ():
        for probe in ("readinessProbe", "livenessProbe"):
            if not container.get(probe):
                yield f"{container['name']} has no {probe}"


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    if not {**pod, **own}.get("runAsNonRoot"):
        yield "may run as root"
    if {**pod, **own}.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "may gain privileges"
    if "ALL" not in own.get("capabilities", {}).get("drop", []):
        yield "keeps capabilities"
    if not own.get("readOnlyRootFilesystem"):
        yield "may write to its image"
    for kind in ("requests", "limits"):
        given = (container.get("resources") or {}).get(kind) or {}
        yield from (f"has no {kind} of {what}" for what in ("cpu", "memory") if what not in given)
    yield from _of_image(container["image"])


def _of_image(image: str) -> Iterator[str]:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not tag and not digest:
        yield f"runs an image without a version: {image}"
    if tag == "latest":
        yield f"runs whatever is latest: {image}"


_NAMES = re.compile(r"passw|secret|token|credential|username|api_?key|private_?key", re.IGNORECASE)
_VALUES = re.compile(
    r"\{SHA\}|\$(?:2[aby]|apr1|5|6)\$|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@|\bAKIA\w{16}\b"
)


def _credentials(manifest: Manifest) -> Iterator[str]:
    if manifest["kind"] == "Secret":
        yield "holds a secret's value"
    for node in _walk(manifest):
        if isinstance(node, str) and _VALUES.search(node):
            yield "holds what looks like a credential"
        if isinstance(node, dict) and "value" in node and _NAMES.search(str(node.get("name", ""))):
            yield f"gives {node['name']} by value"


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _walk(child)

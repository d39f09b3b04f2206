"""Charts as Helm renders them, and manifests against the schemas of what will take them."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

PROJECT = Path(__file__).parents[2]
CHARTS = PROJECT / "deploy" / "charts"
SCHEMAS = Path(os.environ.get("REVIEWS_PARSING_SHARED", PROJECT.parent / "shared")) / "crd-schemas"
# Of kinds that are only in examples: the fields that these use.
EXCERPTS = Path(__file__).parent / "schemas"
KUBERNETES = "1.34"
NAMESPACE = {"reviews-parsing": "reviews-parsing", "ingress": "istio-ingress"}
# What the environment gives, because no file can know it.
GIVEN: dict[tuple[str, str], dict[str, Any]] = {
    ("reviews-parsing", "gke"): {
        "image": {
            "repository": "europe-west1-docker.pkg.dev/a-project/images/reviews-parsing-ner-aspects",
            "digest": f"sha256:{'0123456789abcdef' * 4}",
        },
        "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "a@b.iam.gserviceaccount.com"}},
        "route": {"host": "api.reviews.example.com"},
    },
    ("ingress", "gke"): {"domain": "reviews.example.com", "gateway": {"address": "203.0.113.7"}},
}
Manifest = dict[str, Any]
NAME = "reviews-parsing-ner-aspects"
SECRET_STORE = {"mlflow": {"externalSecret": {"enabled": True, "storeName": "vault", "remoteKey": "mlflow"}}}
CLASSIC = {"controller": "ingress"}
OIDC: dict[str, Any] = {
    "oidc": {
        "enabled": True,
        "issuer": "https://login.example.com",
        "jwksUri": "https://login.example.com/keys",
        "audiences": ["reviews-parsing"],
    }
}
TOOLS: dict[str, Any] = {
    "page": {"enabled": True, "host": "demo.reviews.example.com", "storageClass": "standard-rwo"},
    "report": {
        "enabled": True,
        "sources": ["s3://reviews/parsed/"],
        "options": ["--by", "business,month"],
        "storeSecret": "reviews-store",
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/report"}},
        "storageClass": "standard-rwo",
    },
}
RETRAIN: dict[str, Any] = {
    **TOOLS,
    "retrain": {
        "enabled": True,
        "options": ["--every", "30d", "--corrections", "50"],
        "corrections": True,
        "canary": 10,
        "approval": True,
        "data": "/data/reviews.jsonl",
        "dataClaim": "labelled-reviews",
    },
}
KEY = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
TRUST: dict[str, Any] = {
    "trust": {"publicKey": KEY},
    "admission": {"enabled": True, "repositories": ["docker.io/istio/proxyv2"]},
    "retrain": {"enabled": True, "options": ["--every", "30d"], "signingSecret": "model-signing"},
}
RENDERINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("reviews-parsing", "kind", {}),
    ("reviews-parsing", "gke", {}),
    ("reviews-parsing", "gke", {"model": {"version": "7"}, "autoscaling": {"enabled": False}, **SECRET_STORE}),
    ("reviews-parsing", "gke", TOOLS),
    ("reviews-parsing", "gke", RETRAIN),
    ("reviews-parsing", "gke", TRUST),
    *(("ingress", environment, extra) for environment in ("kind", "gke") for extra in ({}, CLASSIC)),
    ("ingress", "gke", OIDC),
]
every_rendering = pytest.mark.parametrize(("chart", "environment", "extra"), RENDERINGS)
needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"needs the schemas of custom resources at {SCHEMAS}")


def merged(under: Any, over: Any) -> Any:
    """Values as Helm lays them over each other."""
    if isinstance(under, dict) and isinstance(over, dict):
        return {key: merged(under.get(key), over.get(key, under.get(key))) for key in under | over}
    return over


def values(chart: str, environment: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the values of a release: the values file, those of the environment, and `extra`."""
    file = CHARTS / chart / f"values-{environment}.yaml"
    given = merged(yaml.safe_load(file.read_text(encoding="utf-8")), GIVEN.get((chart, environment), {}))
    release: dict[str, Any] = merged(given, extra or {})
    return release


def rendered(
    chart: str, environment: str, extra: dict[str, Any] | None = None, folder: Path | None = None
) -> list[Manifest]:
    """Return the manifests of a release."""
    with helm_python.Chart.load(folder or CHARTS / chart) as loaded:
        files = loaded.render(values(chart, environment, extra), name=chart, namespace=NAMESPACE[chart])
    texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def notes(chart: str, environment: str, extra: dict[str, Any] | None = None) -> str:
    """Return the notes that Helm prints after an installation."""
    with helm_python.Chart.load(CHARTS / chart) as loaded:
        files = loaded.render(values(chart, environment, extra), name=chart, namespace=NAMESPACE[chart])
    return next(text for name, text in files.items() if name.endswith("NOTES.txt"))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the only manifest of a kind (and a name)."""
    found = [m for m in of_kind(manifests, kind) if name in (None, m["metadata"]["name"])]
    assert len(found) == 1, f"{kind}/{name}: {len(found)}"
    return found[0]


def validate(manifest: Manifest) -> None:
    """Validate a manifest. Raises an error for missing, unknown or wrongly typed fields, at any depth."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    name = f"{manifest['kind'].lower()}_{version}.json"
    file = next(
        (path for folder in (EXCERPTS, SCHEMAS) if (path := folder / group / name).exists()), SCHEMAS / group / name
    )
    if "." not in group or (group.endswith(".k8s.io") and not file.exists()):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    _validate_metadata(json.dumps(manifest["metadata"]))
    _validator(file).validate(manifest)


@cache
def _validate_metadata(metadata: str) -> None:
    """Validate the metadata, which the schemas of custom resources leave open."""
    bearer = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": json.loads(metadata)}
    kubernetes_validate.validate(bearer, KUBERNETES, strict=True)


@cache
def _validator(file: Path) -> Any:
    schema = _strict(json.loads(file.read_text(encoding="utf-8")))
    for key in ("apiVersion", "kind", "metadata"):
        schema["properties"].setdefault(key, True)
    return jsonschema_rs.validator_for(schema)


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def defaults(chart: str) -> dict[str, Any]:
    """Return the default values of a chart."""
    loaded: dict[str, Any] = yaml.safe_load((CHARTS / chart / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def container(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the inference server's container."""
    found: dict[str, Any] = one(manifests, "ServingRuntime")["spec"]["containers"][0]
    return found


def predictor(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the predictor of the InferenceService."""
    found: dict[str, Any] = one(manifests, "InferenceService")["spec"]["predictor"]
    return found


def predictor_labels(service: str, canary: str | None = None) -> dict[str, str]:
    """Return the labels that KServe sets on the pods and the Service of the champion's or a canary's predictor."""
    whole = f"{service}-{canary}-predictor" if canary else f"{service}-predictor"
    return {"serving.kserve.io/inferenceservice": service, "component": "predictor", "app": f"isvc.{whole}"}

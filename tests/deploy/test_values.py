"""values.schema.json of both charts: mistakes are turned away, and no value is idle."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from .rendering import CHARTS, CLASSIC, KEY, NAMESPACE, OIDC, RETRAIN, SECRET_STORE, defaults, merged

# Keys below these are the user's own words.
FREE = {"podLabels", "labels", "annotations", "nodeSelector"}
# All that a default leaves out, so that each value below is seen to do something.
WHOLE: dict[str, dict[str, Any]] = {
    "reviews-parsing": {
        **SECRET_STORE,
        "nodeSelector": {"pool": "spot"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "image": {"pullSecrets": [{"name": "registry"}]},
        "monitoring": {"labels": {"release": "prometheus"}},
        "model": {"version": "3"},
        "serviceAccount": {"annotations": {"a": "b"}},
        "route": {"host": "api.example.com"},
        "cache": {"enabled": True, "storageClass": "models", "filestoreNetwork": "some-network"},
        "trust": {"publicKey": KEY},
        "admission": {
            "enabled": True,
            "repositories": ["docker.io/istio/proxyv2"],
            "kyverno": {
                "enabled": True,
                "publicKey": KEY,
                "attestations": True,
                "secrets": ["registry"],
                "providers": ["google"],
            },
        },
        **RETRAIN,
    },
    "ingress": {
        "gateway": {"service": "NodePort", "address": "203.0.113.7"},
        "certificates": {"acme": {"email": "a@example.com"}},
        "monitoring": {"labels": {"release": "prometheus"}},
        **OIDC,
    },
}


def _leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, node


def _with(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    values: dict[str, Any] = value
    for step in reversed(path):
        values = {step: values}
    return values


def _settings(chart: str) -> dict[str, Any]:
    domain = {"domain": "reviews.localhost"} if chart == "ingress" else {}
    settings: dict[str, Any] = merged(merged(defaults(chart), domain), WHOLE[chart])
    return settings


def _mistakes(path: tuple[str, ...], value: Any) -> Iterator[dict[str, Any]]:
    """Another type, and another spelling where the key is not the user's own word."""
    wrong: list[Any] = [{"an": ["object"]}, 1 if isinstance(value, str) else "one"]
    for other in wrong:
        yield _with(path, other)
    if not FREE & set(path[:-1]):
        yield _with((*path[:-1], f"{path[-1]}x"), value)


@pytest.mark.parametrize("chart", NAMESPACE)
def test_typos_and_wrong_types_are_turned_away(chart: str) -> None:
    with helm_python.Chart.load(CHARTS / chart) as loaded:
        loaded.validate_schema(_settings(chart))
        for path, value in _leaves(_settings(chart)):
            for mistake in _mistakes(path, value):
                with pytest.raises(helm_python.HelmValuesError):
                    loaded.validate_schema(merged(_settings(chart), mistake))


@pytest.mark.parametrize(
    ("chart", "mistake"),
    [
        ("reviews-parsing", {"image": {"tag": "latest"}}),
        ("reviews-parsing", {"image": {"digest": "sha256:abc"}}),
        ("reviews-parsing", {"model": {"version": "champion"}}),
        ("reviews-parsing", {"model": {"version": "0"}}),
        ("reviews-parsing", {"replicas": {"min": 0}}),
        ("reviews-parsing", {"resources": {"limits": {"memory": "2 GB"}}}),
        ("reviews-parsing", {"mlflow": {"uri": "http://me:hush@mlflow"}}),
        ("reviews-parsing", {"mlflow": {"password": "hush"}}),
        ("reviews-parsing", {"mlflow": {"externalSecret": {"enabled": True, "storeName": ""}}}),
        ("reviews-parsing", {"network": {"gateway": {"podLabels": None}}}),
        ("reviews-parsing", {"report": {"sources": []}}),
        ("reviews-parsing", {"report": {"sources": ["/etc"]}}),
        ("reviews-parsing", {"report": {"schedule": "every monday"}}),
        ("reviews-parsing", {"page": {"host": "https://demo.example.com"}}),
        ("reviews-parsing", {"tools": {"image": {"tag": "latest"}}}),
        ("ingress", {"domain": ""}),
        ("ingress", {"domain": "https://reviews.example.com"}),
        ("ingress", {"controller": "nginx"}),
        ("ingress", {"routes": {"api": {"namespace": "a", "service": "b", "port": 1, "podPort": 1, "login": "own"}}}),
        ("ingress", {"routes": {"jaeger": {"login": "none"}}}),
        ("ingress", {"gateway": {"nodePorts": {"http": 80}}}),
        ("ingress", {"users": "a:b"}),
        ("ingress", {"oidc": {"audiences": []}}),
        ("ingress", {"oidc": {"issuer": "http://login.example.com"}}),
        ("ingress", {"controller": "ingress", "oidc": {"enabled": True}}),
        ("reviews-parsing", {"retrain": {"options": []}}),
        ("reviews-parsing", {"retrain": {"data": "/etc"}}),
        ("reviews-parsing", {"page": {"enabled": False}}),
    ],
)
def test_values_that_would_do_harm_are_turned_away(chart: str, mistake: dict[str, Any]) -> None:
    with helm_python.Chart.load(CHARTS / chart) as loaded, pytest.raises(helm_python.HelmValuesError):
        loaded.validate_schema(merged(_settings(chart), mistake))


# Other values that are as good, where a word or a number of any kind is not.
OTHER: dict[str, Any] = {
    "storeKind": "SecretStore",
    "digest": f"sha256:{'f' * 64}",
    "domain": "other.example.com",
    "controller": "ingress",
    "issuer": "acme",
    "address": "203.0.113.8",
    "email": "b@example.com",
    "host": "api.other.example.com",
    "listener": "other",
    "accessMode": "ReadWriteOnce",
    "schedule": "30 5 * * 1-5",
    "timeZone": "Europe/Zurich",
    "sources": ["gs://other/parsed/"],
    "options": ["--language", "de"],
    "ratio": "0.7",
    "path": "/other",
    "apps": ["other"],
    "addresses": ["192.0.2.53/32"],
    "cidr": "192.0.2.0/24",
    "pullSecrets": [{"name": "other"}],
    "tolerations": [{"key": "other"}],
    "server": "https://acme.example.com",
    "jwksUri": "https://other.example.com/keys",
    "audiences": ["other"],
    "principals": ["https://login.example.com/other"],
    "data": "/data/other",
    "publicKey": KEY.replace("M", "N"),
    "trustConfig": '{"trustedRoot": {}}',
    "repositories": ["docker.io/other"],
    "secrets": ["other"],
    "providers": ["amazon"],
}


def _other(path: tuple[str, ...], value: Any) -> Any:
    if path == ("gateway", "service"):
        return "LoadBalancer"
    if path[-1] == "login":
        return {"own": "gateway", "gateway": "own"}[value]
    if path == ("oidc", "issuer"):
        return "https://other.example.com"
    if path[-1] in OTHER:
        return OTHER[path[-1]]
    if isinstance(value, int):
        return not value if isinstance(value, bool) else value + 1
    kinds = {r"http.*": "http://other.example.com", r"[0-9].*": "9", r".*": "other"}
    return next(other for kind, other in kinds.items() if re.fullmatch(kind, value))


# A classic Ingress knows users and passwords only; corrections are on the volume of the page.
PASSWORDS = {"oidc": {"enabled": False}}
NO_PAGE = {"retrain": {"corrections": False}}
# Some values count for one of these only.
WAYS: dict[str, list[dict[str, Any]]] = {
    "reviews-parsing": [{}],
    "ingress": [{}, {**CLASSIC, **PASSWORDS}, {"certificates": {"issuer": "acme"}}],
}


@pytest.mark.parametrize("chart", NAMESPACE)
def test_every_value_changes_what_is_rendered(chart: str, tmp_path: Path) -> None:
    folder = tmp_path / chart
    shutil.copytree(CHARTS / chart, folder)
    (folder / "dashboards").mkdir(exist_ok=True)
    (folder / "dashboards" / "one.json").write_text("{}", encoding="utf-8")
    with helm_python.Chart.load(folder) as loaded:

        def render(settings: dict[str, Any], way: dict[str, Any]) -> dict[str, str]:
            return loaded.render(merged(settings, way), name=chart, namespace=NAMESPACE[chart])

        settings = _settings(chart)
        for path, value in _leaves(settings):
            changed = merged(settings, _with(path, _other(path, value)))
            if changed.get("controller") == "ingress":
                changed = merged(changed, PASSWORDS)
            if changed.get("page", {}).get("enabled") is False:
                changed = merged(changed, NO_PAGE)
            loaded.validate_schema(changed)
            assert any(render(settings, way) != render(changed, way) for way in WAYS[chart]), path

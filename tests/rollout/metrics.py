"""A real Prometheus, and servers whose metrics a test controls: names, labels and buckets as `serving.metrics` has."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reviews_parsing.serving.metrics import LATENCY_BUCKETS_SECONDS


class Exporter:
    """A server of `version` that answers `requests` between two scrapes, of which `failed` with 500."""

    def __init__(self, version: str, requests: int = 0, failed: int = 0, seconds: float = 0.02) -> None:
        self.version = version
        self.requests, self.failed, self.seconds = requests, failed, seconds
        registry = CollectorRegistry()
        counter = Counter("reviews_parsing_requests", "", ["door", "status"], registry=registry)
        labels = ["door", "texts"]
        histogram = Histogram(
            "reviews_parsing_request_seconds", "", labels, buckets=LATENCY_BUCKETS_SECONDS, registry=registry
        )
        info = Gauge("reviews_parsing_model_info", "", ["version", "precision"], registry=registry)
        info.labels(version, "int8").set(1)
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                for number in range(exporter.requests):
                    failed = number < exporter.failed
                    counter.labels("rest", "500" if failed else "200").inc()
                    histogram.labels("rest", "none" if failed else "one").observe(0 if failed else exporter.seconds)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(generate_latest(registry))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.target = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class PrometheusServer:
    """Scrapes every 200 ms what `scrape` names."""

    def __init__(self, folder: Path) -> None:
        self._targets = folder / "targets.json"
        self._targets.write_text("[]", encoding="utf-8")
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [{"job_name": "pods", "file_sd_configs": [{"files": [str(self._targets)]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{address}"
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command += [f"--web.listen-address={address}", "--log.level=error"]
        self._process = subprocess.Popen(command)
        self._until(lambda: httpx2.get(f"{self.url}/-/ready").status_code == 200)

    def scrape(self, namespace: str, exporters: list[Exporter]) -> None:
        """Until each of these, and nothing else, has been scraped."""
        self.scrape_targets(namespace, [one.target for one in exporters])

    def scrape_targets(self, namespace: str, targets: list[str]) -> None:
        """Scrape these addresses, and nothing else, and return when each has been."""
        groups = [{"targets": targets, "labels": {"namespace": namespace}}]
        swap = self._targets.with_suffix(".new")
        swap.write_text(json.dumps(groups), encoding="utf-8")
        swap.rename(self._targets)
        query = {"query": f'reviews_parsing_model_info{{namespace="{namespace}"}}'}

        def seen() -> bool:
            rows = httpx2.get(f"{self.url}/api/v1/query", params=query).json()["data"]["result"]
            return {row["metric"]["instance"] for row in rows} == set(targets)

        self._until(seen)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _until(self, check: object) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if check():  # type: ignore[operator]
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("Prometheus is not where it should be after 30 s")

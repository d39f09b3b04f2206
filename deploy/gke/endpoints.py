"""Write the OpenAPI documents for Cloud Endpoints, which bind hosts under cloud.goog to an address.

    python deploy/gke/endpoints.py endpoints.PROJECT.cloud.goog 203.0.113.7 FOLDER

Writes FOLDER/HOST.json for each host. The document of `api` has the operations of the server; the others have only a
name. They are OpenAPI 2.0, because `x-google-endpoints`, which binds a name to an address, is documented only for 2.0.
Schemas of requests and responses are in the server's own document, at /v2/docs.
"""

from __future__ import annotations

import json
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from reviews_parsing.serving.openapi import document
from reviews_parsing.settings import Settings

HOSTS = ("api", "mlflow", "grafana", "jaeger", "jenkins", "demo")
VERBS = ("get", "post")


def main(domain: str, address: str, folder: str) -> None:
    """Write the documents of all hosts under `domain`."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for host in HOSTS:
        name = f"{host}.{domain}"
        text = json.dumps(endpoint(name, IPv4Address(address), operations=host == "api"), indent=2)
        (target / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def endpoint(name: str, address: IPv4Address, *, operations: bool) -> dict[str, Any]:
    """Return the document that binds `name` to `address`."""
    server = document(Settings().max_texts)
    info = server["info"]
    return {
        "swagger": "2.0",
        "info": {"title": f"{info['title']}: {name}", "version": info["version"], "description": info["description"]},
        "host": name,
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "x-google-endpoints": [{"name": name, "target": str(address)}],
        # The gateway does not expose loading and unloading of models.
        "paths": {
            path: _path(item)
            for path, item in (server["paths"].items() if operations else ())
            if not path.startswith("/v2/repository")
        },
    }


def _path(item: dict[str, Any]) -> dict[str, Any]:
    """Convert a path of OpenAPI 3.1 to 2.0."""
    inside = [
        {"name": p["name"], "in": p["in"], "required": True, "type": "string"} for p in item.get("parameters", [])
    ]
    return {verb: _operation(item[verb], inside) for verb in VERBS if verb in item}


def _operation(operation: dict[str, Any], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    body = [{"name": "body", "in": "body", "required": True, "schema": {"type": "object"}}]
    return {
        "operationId": operation["operationId"].replace("-", "_"),
        "summary": operation["summary"],
        "parameters": [*parameters, *(body if "requestBody" in operation else [])],
        "responses": {status: {"description": _reason(status)} for status in operation["responses"]},
    }


def _reason(status: str) -> str:
    return "answered" if status == "200" else "refused; `error` says why"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python deploy/gke/endpoints.py DOMAIN ADDRESS FOLDER")
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")

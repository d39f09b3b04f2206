"""OpenAPI document of the REST endpoints, from `openapi.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version as installed
from importlib.resources import files
from typing import Any
from urllib.parse import quote

MODEL_PATH = "/v2/models/{model_name}"
VERSION_PATH = f"{MODEL_PATH}/versions/{{model_version}}"


def document(max_texts: int, model: str | None = None, version: str | None = None) -> dict[str, Any]:
    """Return the document of the server, of one model, or of one version of it, with the limit of texts filled in."""
    form: dict[str, Any] = json.loads(_template())
    form["info"]["version"] = installed("reviews-parsing")
    for shape in form["components"]["schemas"]["Input"]["anyOf"]:
        shape["properties"]["data"]["maxItems"] = max_texts
    if model is None:
        return form
    form["info"]["title"] += f": {model} {version or ''}".rstrip()
    base, path = (VERSION_PATH, f"/versions/{quote(version, safe='')}") if version else (MODEL_PATH, "")
    form["paths"] = {
        f"/v2/models/{quote(model, safe='')}{path}{key.removeprefix(base)}": item | {"parameters": []}
        for key, item in form["paths"].items()
        if key.startswith(base) and (version or not key.startswith(VERSION_PATH))
    }
    return form


@cache
def _template() -> str:
    return files(__package__).joinpath("openapi.json").read_text(encoding="utf-8")

"""Files of Swagger UI, which shows an OpenAPI document; they come from a wheel, so that pages need no internet."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"


def swagger_ui_folder() -> Path:
    """Return the folder of the files in their wheel, without importing FastAPI. Raises ImportError."""
    spec = importlib.util.find_spec("fastapi_swagger")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("No module named 'fastapi_swagger'")
    return Path(spec.submodule_search_locations[0]) / "resources"

"""What a tracking server last answered, kept beside the models, for when it cannot be reached.

One small file for each reference and server: `models/NAME/known/@champion-1f0e2d3c.json`.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from reviews_parsing.errors import DataError
from reviews_parsing.registry.store import SQLITE, Reference, Resolved, public, tracking_uri
from reviews_parsing.settings import Settings


def remember(wanted: Reference, found: Resolved) -> None:
    """Keep what `wanted` means, whole or not at all. Where home cannot be written to, nothing is kept."""
    # A file is asked itself: it is as near as the record of what it said.
    if tracking_uri().startswith(SQLITE) or recall(wanted) == found:
        return
    from reviews_parsing.io.files import write_bytes

    form = {"store": public(tracking_uri()), **asdict(wanted), **asdict(found)}
    with suppress(DataError, OSError):
        file = _file(wanted)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, f"{json.dumps(form, indent=2)}\n".encode())


def recall(wanted: Reference) -> Resolved | None:
    """What `wanted` meant when the server was last asked, if it ever was."""
    try:
        form = json.loads(_file(wanted).read_text(encoding="utf-8"))
        return Resolved(form["version"], form["run_id"])
    except (OSError, ValueError, KeyError):
        return None


def _file(wanted: Reference) -> Path:
    store = hashlib.sha256(public(tracking_uri()).encode()).hexdigest()[:8]
    what = f"@{wanted.alias}" if wanted.alias else wanted.number
    return Settings().home / "models" / wanted.name / "known" / f"{what}-{store}.json"

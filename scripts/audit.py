"""`make audit`: look the locked packages up among the known vulnerabilities, with pip-audit.

ADVISORIES names an offline copy of the advisories, which are otherwise PyPI's: the archive that OSV publishes for PyPI
(https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip), or a folder of its JSON files. pip-audit then asks a
server on loopback that answers from the copy, as OSV's API does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PROJECT = Path(__file__).resolve().parent.parent
Advisory = dict[str, Any]


def main(lock: Path = PROJECT / "requirements.lock", exceptions: Path = PROJECT / "audit-exceptions.txt") -> None:
    """Audit the packages of `lock` except for the ids that begin lines of `exceptions`; exit as pip-audit does."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--requirement", str(lock)]
    for id_ in re.findall(r"^([A-Z]+-\S+) ", exceptions.read_text(encoding="utf-8"), re.MULTILINE):
        command += ["--ignore-vuln", id_]
    copy = os.environ.get("ADVISORIES")
    if not copy:
        sys.exit(subprocess.run(command, check=False).returncode)
    advisories = read_advisories(Path(copy))
    print(f"{sum(map(len, advisories.values())):,} advisories in {copy}", file=sys.stderr)
    with serving(advisories) as address:
        # A proxy would not find this machine.
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        service = ["--vulnerability-service", "osv", "--osv-url", address]
        code = subprocess.run([*command, *service], check=False, env=environment).returncode
    sys.exit(code)


def read_advisories(copy: Path) -> dict[str, list[Advisory]]:
    """Return the advisories about PyPI's packages by their canonical names; exit if the copy has no advisory."""
    found: dict[str, list[Advisory]] = defaultdict(list)
    try:
        for text in _documents(copy):
            advisory: Advisory = json.loads(text)
            for affected in _of_pypi(advisory):
                # pip-audit compares the names as they are.
                affected["package"]["name"] = canonicalize_name(affected["package"]["name"])
            for name in {affected["package"]["name"] for affected in _of_pypi(advisory)}:
                found[name].append(advisory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"error: the advisories in {copy} cannot be read ({reason}); fetch the copy again")
    if not found:
        sys.exit(f"error: {copy} holds no advisories; name OSV's archive for PyPI (all.zip), or a folder of its files")
    return found


def _documents(copy: Path) -> Iterator[bytes]:
    if copy.is_dir():
        yield from (file.read_bytes() for file in sorted(copy.rglob("*.json")))
        return
    with zipfile.ZipFile(copy) as archive:
        yield from (archive.read(name) for name in archive.namelist() if name.endswith(".json"))


def _of_pypi(advisory: Advisory) -> Iterator[dict[str, Any]]:
    return (
        affected for affected in advisory.get("affected", []) if affected.get("package", {}).get("ecosystem") == "PyPI"
    )


def find_advisories(advisories: Iterable[Advisory], name: str, version: Version) -> list[Advisory]:
    """Return the advisories that affect a version of a package, by the algorithm of the OSV schema."""
    return [
        advisory
        for advisory in advisories
        for affected in _of_pypi(advisory)
        if canonicalize_name(affected["package"]["name"]) == name and _affects(affected, version)
    ]


def _affects(affected: dict[str, Any], version: Version) -> bool:
    if any(_parse(listed) == version for listed in affected.get("versions", [])):
        return True
    ranges = [r["events"] for r in affected.get("ranges", []) if r["type"] == "ECOSYSTEM"]
    return any(_is_in_range(events, version) for events in ranges)


def _is_in_range(events: list[dict[str, str]], version: Version) -> bool:
    """Return the state after the last event at or before a version: introduced, or fixed."""
    order = ("fixed", "introduced", "last_affected")
    vulnerable = False
    parsed = [(_parse(value), kind) for event in events for kind, value in event.items() if kind in order]
    for point, kind in sorted(((p, k) for p, k in parsed if p), key=lambda item: (item[0], order.index(item[1]))):
        if kind == "introduced" and version >= point:
            vulnerable = True
        elif (kind == "fixed" and version >= point) or (kind == "last_affected" and version > point):
            vulnerable = False
    return vulnerable


def _parse(text: str) -> Version | None:
    """Return a version, None for a text that is not one by PEP 440."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


@contextmanager
def serving(advisories: dict[str, list[Advisory]]) -> Iterator[str]:
    """Yield the address of a server that answers the queries of OSV's API from `advisories`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = canonicalize_name(query["package"]["name"])
            matches = find_advisories(advisories.get(name, []), name, Version(query["version"]))
            body = json.dumps({"vulns": matches} if matches else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Leave the terminal to pip-audit."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

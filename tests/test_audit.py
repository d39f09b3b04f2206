"""`make audit` from an offline copy of the advisories: without a network, by the rules of OSV, and with exceptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))

import audit  # noqa: E402


def advisory(id_: str, name: str, **affected: Any) -> dict[str, Any]:
    package = {"name": name, "ecosystem": affected.pop("ecosystem", "PyPI")}
    return {"id": id_, "summary": f"{name} does harm", "affected": [{"package": package, **affected}]}


def events(**versions: str) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in versions.items()]}]}


ADVISORIES = [
    advisory("PYSEC-2026-1", "Example_Package", **events(introduced="0", fixed="1.2")),
    advisory("GHSA-aaaa-bbbb-cccc", "other", versions=["3.0"]),
    advisory("GO-2026-1", "example-package", ecosystem="Go", **events(introduced="0")),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for entry in ADVISORIES:
            target.writestr(f"{entry['id']}.json", json.dumps(entry))
    return archive


def run(copy: Path, tmp_path: Path, version: str, exceptions: str = "") -> subprocess.CompletedProcess[str]:
    lock, file = tmp_path / "lock.txt", tmp_path / "exceptions.txt"
    lock.write_text(f"example-package=={version} --hash=sha256:{'0' * 64}\n")
    file.write_text(exceptions)
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "ADVISORIES": str(copy), "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}
    command = [sys.executable, str(PROJECT / "scripts" / "audit.py"), str(lock), str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_vulnerable_package_is_found_without_a_network(copy: Path, tmp_path: Path) -> None:
    done = run(copy, tmp_path, "1.1")
    assert done.returncode == 1, done.stderr
    [row] = [line for line in done.stdout.splitlines() if line.startswith("example-package")]
    assert row.split()[:4] == ["example-package", "1.1", "PYSEC-2026-1", "1.2"]
    assert "2 advisories in" in done.stderr


def test_a_fixed_version_and_an_exception_pass(copy: Path, tmp_path: Path) -> None:
    assert run(copy, tmp_path, "1.2").returncode == 0
    done = run(copy, tmp_path, "1.1", "# why\nPYSEC-2026-1 is not reachable here, until 2027-01\n")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("affected", "vulnerable", "safe"),
    [
        (events(introduced="0", fixed="1.2"), ["0.1", "1.2rc1"], ["1.2", "2"]),
        (events(introduced="1", last_affected="1.4"), ["1", "1.4"], ["0.9", "1.4.1"]),
        (events(introduced="2"), ["2", "9"], ["1.9"]),
        ({"versions": ["1.0", "not-a-version"]}, ["1"], ["1.1"]),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, [], ["1"]),
        (
            {"ranges": [*events(introduced="0", fixed="1")["ranges"], *events(introduced="3", fixed="3.1")["ranges"]]},
            ["0.5", "3"],
            ["1", "2", "3.1"],
        ),
    ],
)
def test_versions_are_compared_as_osv_compares_them(
    affected: dict[str, Any], vulnerable: list[str], safe: list[str]
) -> None:
    entries = [advisory("PYSEC-1", "Example.Package", **affected)]
    for version in vulnerable + safe:
        matches = audit.find_advisories(entries, "example-package", Version(version))
        assert bool(matches) == (version in vulnerable), version


def test_a_folder_of_advisories_is_a_copy_too(tmp_path: Path) -> None:
    for entry in ADVISORIES:
        (tmp_path / f"{entry['id']}.json").write_text(json.dumps(entry))
    assert set(audit.read_advisories(tmp_path)) == {"example-package", "other"}


@pytest.mark.parametrize("content", [None, b"", b"PK", b'{"id": "PYSEC-1"}'])
def test_a_copy_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    copy = tmp_path / "all.zip"
    if content is not None:
        copy.write_bytes(content)
    done = run(copy, tmp_path, "1.1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"error: the advisories in {copy} cannot be read" in done.stderr


def test_an_empty_folder_is_no_copy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no advisories"):
        audit.read_advisories(tmp_path)


def test_make_runs_it() -> None:
    done = subprocess.run(["make", "--dry-run", "audit"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "python scripts/audit.py" in done.stdout

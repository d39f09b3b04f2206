"""Run the tests with the oldest or newest versions that pyproject.toml allows (`make test-lowest`, `make test-newest`).

Direct dependencies of the package and its extras are at that bound, all others at their newest. What only the tests use
stays as new as that permits. Takes `lowest` or `newest`, then options of pytest, and builds `build/BOUND/venv`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from install import install_torch, say
from lock import LEFT_OUT

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"
RESOLUTION = {"lowest": "lowest-direct", "newest": "highest"}
COMPILE = ["pip", "compile", "pyproject.toml", "--all-extras", "--no-annotate", "--no-header", "--quiet", "--upgrade"]


def main(bound: str, options: list[str]) -> None:
    folder = BUILD / bound
    folder.mkdir(parents=True, exist_ok=True)
    package, everything = folder / "package.txt", folder / "requirements.txt"
    say(f"resolving the {bound} versions")
    run(*uv(), *COMPILE, "--resolution", RESOLUTION[bound], "--output-file", str(package))
    run(*uv(), *COMPILE, "--group", "dev", "--constraint", str(package), "--output-file", str(everything))
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        run(*uv(), "venv", "--seed", "--quiet", "--python", sys.executable, str(python.parent.parent))
    requirements = everything.read_text(encoding="utf-8").splitlines()
    install_torch(next(line for line in requirements if line.startswith("torch==")).split()[0], python)
    others = folder / "without-torch.txt"
    others.write_text("\n".join(line for line in requirements if not LEFT_OUT.match(line)) + "\n", encoding="utf-8")
    say("installing them")
    install = [*uv(), "pip", "install", "--quiet", "--python", str(python), "--no-deps"]
    run(*install, "--requirement", str(others))
    run(*install, "--no-build-isolation", "--editable", str(PROJECT))
    for name in direct_dependencies():
        say("  " + next(line for line in requirements if re.match(rf"{re.escape(name)}==", line)))
    run(str(python), "-m", "pytest", *options, variables={"OMP_NUM_THREADS": "1"})


def direct_dependencies() -> list[str]:
    """Return the names of the base dependencies of the package."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split("[^a-z0-9-]", requirement)[0] for requirement in project["dependencies"]]


def uv() -> list[str]:
    return [sys.executable, "-m", "uv"]


def run(*command: str, variables: dict[str, str] | None = None) -> None:
    finished = subprocess.run(command, cwd=PROJECT, env={**os.environ, **(variables or {})}, check=False)
    if finished.returncode != 0:
        sys.exit(f"error: {' '.join(command[:6])} ... ended with status {finished.returncode}; see above")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RESOLUTION:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(RESOLUTION)} [OPTION OF PYTEST ...]")
    main(sys.argv[1], sys.argv[2:])

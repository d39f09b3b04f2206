"""Run the tests with the oldest or newest versions that pyproject.toml allows (`make test-lowest`, `make test-newest`).

Direct dependencies of the package and its extras are at that bound, all others at their newest. For `lowest`, the tools
that only tests use are those of the lock; a bound that they exceed is raised, and the output says so. Takes `lowest` or
`newest`, then options of pytest, and builds `build/BOUND/venv`.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from install import install_torch, say
from lock import LEFT_OUT

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"
RESOLUTION = {"lowest": "lowest-direct", "newest": "highest"}
COMPILE = ["pip", "compile", "pyproject.toml", "--all-extras", "--group", "dev"]
COMPILE += ["--no-annotate", "--no-header", "--quiet", "--upgrade"]
Pins = dict[str, str]
"""Versions by package."""


def main(bound: str, options: list[str]) -> None:
    """Build the environment for a bound and run the tests in it."""
    folder = BUILD / bound
    folder.mkdir(parents=True, exist_ok=True)
    tools, full_list = folder / "tools.txt", folder / "requirements.txt"
    locked = read_pins(PROJECT / "requirements.lock") if bound == "lowest" else {}
    tools.write_text("".join(f"{name}=={locked[name]}\n" for name in tool_names() if name in locked), encoding="utf-8")
    say(f"resolving the {bound} versions")
    resolution = ["--resolution", RESOLUTION[bound], "--constraint", str(tools)]
    run(*uv(), *COMPILE, *resolution, "--output-file", str(full_list))
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        run(*uv(), "venv", "--seed", "--quiet", "--python", sys.executable, str(python.parent.parent))
    pins = read_pins(full_list)
    install_torch(f"torch=={pins['torch']}", python)
    without_torch = folder / "without-torch.txt"
    lines = full_list.read_text(encoding="utf-8").splitlines()
    without_torch.write_text("\n".join(line for line in lines if not LEFT_OUT.match(line)) + "\n", encoding="utf-8")
    say("installing them")
    install = [*uv(), "pip", "install", "--quiet", "--python", str(python), "--no-deps"]
    run(*install, "--requirement", str(without_torch))
    run(*install, "--no-build-isolation", "--editable", str(PROJECT))
    for name, requirement in sorted(package_requirements().items()):
        raised = bound == "lowest" and name in pins and not is_lowest(requirement, pins[name])
        say(f"  {name} {pins.get(name, 'is not for this platform')}" + f", above the bound {requirement}" * raised)
    run(str(python), "-m", "pytest", *options, variables={"OMP_NUM_THREADS": "1"})


def package_requirements() -> Pins:
    """Return the requirements of the package and its extras by name, without the package itself."""
    project = load_pyproject()["project"]
    listed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    requirements = {name_of(requirement): requirement for requirement in listed}
    return {name: text for name, text in requirements.items() if name != project["name"]}


def tool_names() -> list[str]:
    """Return the packages that only tests and tools need."""
    return sorted(
        {name_of(text) for text in load_pyproject()["dependency-groups"]["dev"]} - set(package_requirements())
    )


def is_lowest(requirement: str, version: str) -> bool:
    """Return whether a version is the lower bound of a requirement, up to trailing zeros and patch releases."""
    match = re.search(r"[=>]=([\d.]+)", requirement)
    return match is None or f"{version}.".startswith(f"{match[1]}.")


def read_pins(file: Path) -> Pins:
    """Return the versions in a compiled requirements file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", file.read_text(encoding="utf-8"), re.MULTILINE))


def name_of(requirement: str) -> str:
    """Return the package name in a requirement."""
    return re.split("[^A-Za-z0-9._-]", requirement)[0].lower()


def load_pyproject() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def uv() -> list[str]:
    """Return the command of uv."""
    return [sys.executable, "-m", "uv"]


def run(*command: str, variables: dict[str, str] | None = None) -> None:
    """Run a program; exit if it fails."""
    finished = subprocess.run(command, cwd=PROJECT, env={**os.environ, **(variables or {})}, check=False)
    if finished.returncode != 0:
        sys.exit(f"error: {' '.join(command[:6])} ... ended with status {finished.returncode}; see above")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RESOLUTION:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(RESOLUTION)} [OPTION OF PYTEST ...]")
    main(sys.argv[1], sys.argv[2:])

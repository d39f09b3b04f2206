"""Make `.venv` and install the project with everything that `make up` and `make test` need.

Packages are pinned in requirements.lock and checked by their hashes. torch is installed first, as the CPU build if one
is available: on Linux, the default build of the package index includes gigabytes of CUDA.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def main() -> None:
    """Create the environment and install the locked packages and the project."""
    if not (3, 11) <= sys.version_info < (3, 13):
        version = platform.python_version()
        sys.exit(f"error: Python {version} is not supported; use 3.11 or 3.12: make up PYTHON=python3.11")
    begin = time.monotonic()
    if not PYTHON.exists():
        say("making .venv")
        venv.create(VENV, with_pip=True)
    install_torch(re.findall(r'"(torch==[^"]+)"', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"))[0])
    say("installing pinned packages")
    pip("install", "--no-deps", "--require-hashes", "-r", str(PROJECT / "requirements.lock"))
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(PROJECT))
    say(f"installed in {time.monotonic() - begin:.0f} s")


def install_torch(requirement: str, python: Path = PYTHON) -> None:
    """Install torch into the environment of `python`: the CPU build if it is available and the machine has no GPU."""
    pinned_version = requirement.split("==")[1]
    installed = subprocess.run(
        [python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=False
    )
    if installed.stdout.strip().split("+")[0] == pinned_version:
        return
    say(f"installing {requirement}")
    wants_choice = sys.platform == "linux" and platform.machine() == "x86_64" and not shutil.which("nvidia-smi")
    if wants_choice and not offers_cpu_build(requirement, python):
        # uv knows where PyTorch keeps its CPU builds.
        pip("install", "uv", python=python)
        uv = [str(python), "-m", "uv", "pip", "install", "--python", str(python)]
        if subprocess.run([*uv, "--torch-backend", "cpu", requirement], check=False).returncode == 0:
            return
        say("the CPU build of torch cannot be reached; installing that of the package index")
    pip("install", requirement, python=python)


def offers_cpu_build(requirement: str, python: Path = PYTHON) -> bool:
    """Return whether pip would choose a CPU build with its present configuration."""
    query = subprocess.run(
        [python, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--report", "-", requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    if query.returncode != 0:
        return False
    return "+cpu" in json.loads(query.stdout)["install"][0]["metadata"]["version"]


def pip(*arguments: str, python: Path = PYTHON) -> None:
    """Run pip; exit if it fails."""
    finished = subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=False)
    if finished.returncode != 0:
        sys.exit(f"error: pip {' '.join(arguments)} failed; see above, then run make again")


def say(words: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    main()

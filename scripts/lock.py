"""Pin every dependency of every extra in requirements.lock, with hashes and without the name of a package index.

torch and the CUDA packages of its Linux build are left out: scripts/install.py installs torch first.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LEFT_OUT = re.compile(r"(torch|sentence-transformers|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def main() -> None:
    """Compile the requirements and write requirements.lock."""
    options = "pyproject.toml --all-extras --group dev --python-version 3.11 --universal --generate-hashes"
    form = "--no-annotate --no-header --no-emit-index-url --no-emit-find-links"
    compiled = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", *options.split(), *form.split()],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode != 0:
        sys.exit(f"error: the dependencies cannot be resolved\n{compiled.stderr}")
    entries = re.split(r"\n(?=\S)", compiled.stdout.strip())
    pins = [entry for entry in entries if not LEFT_OUT.match(entry)]
    head = "# Made by `make lock` from pyproject.toml: all extras and the dev group, without torch. Do not edit.\n"
    (PROJECT / "requirements.lock").write_text(head + "\n".join(pins) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

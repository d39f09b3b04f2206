"""Create the file system of the image in the last step of its build: `python3 rootfs.py VENV TARGET`.

It holds Python, the packages in VENV, the libraries that both link, and certificates, but no shell, package manager or
set-uid program. The Debian packages of these files are recorded in /var/lib/dpkg/status.d for image scanners.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode, compile

ACCOUNTS = {
    "passwd": "root:x:0:0::/:/none\nreviews-parsing:x:10001:10001::/var/lib/reviews-parsing:/none\n",
    "group": "root:x:0:\nreviews-parsing:x:10001:\n",
}
FILES = "debian_version ld.so.cache nsswitch.conf os-release ssl/certs/ca-certificates.crt"

# What no server opens: tests, what compilers read, Arrow's other protocol, libraries that only C programs link.
UNUSED = """
**/__pycache__  **/tests  **/*.pyi  **/*.pxd  **/*.pyx  **/*.h  **/*.hpp  **/*.a
pyarrow/*flight*  pyarrow/libarrow_python*.so  pyarrow/libarrow_python*.so.*.*.*
onnxruntime/capi/libonnxruntime.so*  onnxruntime/datasets
onnxruntime/quantization  onnxruntime/tools  onnxruntime/transformers
"""
UNUSED_OF_PYTHON = ["__pycache__", "config-*", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data"]
UNUSED_OF_PYTHON += ["EXTERNALLY-MANAGED", "site-packages", "test", "tkinter", "turtledemo"]

# Names the files of what a server loads until its first answer.
STARTED = """
import sys
import mlflow.pyfunc, mlflow.tracking, mlserver.cli, model_signing.verifying, onnxruntime, tokenizers
import reviews_parsing.cli.app, reviews_parsing.registry, reviews_parsing.serving.server
import reviews_parsing.serving.repository, reviews_parsing.serving.runtime
print(*{module.__file__ for module in [*sys.modules.values()] if getattr(module, "__file__", None)}, sep="\\n")
"""


def main(venv: Path, target: Path) -> None:
    """Copy the files that the server needs to `target`."""
    python, packages = venv / "bin" / "python", next(venv.glob("lib/python*/site-packages"))
    for pattern in UNUSED.split():
        remove(packages.glob(pattern))
    remove([*venv.glob("bin/*activate*"), *venv.glob("bin/pydoc*")])
    strip(packages)

    standard = Path(sysconfig.get_path("stdlib"))
    without = shutil.ignore_patterns(*UNUSED_OF_PYTHON)
    kept = [Path("/etc", name) for name in FILES.split() if Path("/etc", name).exists()]
    kept += [*files(standard, without), *linked([python, *standard.rglob("*.so"), *packages.rglob("*.so*")])]
    for path in [*kept, *compiled(python), *files(venv)]:
        copy(path, target)
    record(kept, target)

    for name, text in ACCOUNTS.items():
        (target / "etc" / name).write_text(text, encoding="utf-8")
    (target / "tmp").mkdir()
    (target / "tmp").chmod(0o1777)


def remove(paths: Iterable[Path]) -> None:
    """Delete files and folders."""
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def strip(packages: Path) -> None:
    """Strip symbols from libraries, except those that auditwheel has rewritten, which `strip` breaks."""
    libraries = [path for path in packages.rglob("*.so*") if not path.parent.name.endswith(".libs")]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def linked(programs: list[Path]) -> set[Path]:
    """Return the libraries that the programs link, without those in the packages."""
    listed = ask("ldd", *programs)
    if missing := re.findall(r"^\t.* => not found", listed, re.MULTILINE):
        sys.exit(f"error: {missing}")
    found = {Path(path) for path in re.findall(r"^\t(?:.* => )?(/\S+) \(0x", listed, re.MULTILINE)}
    return {path for path in found if "site-packages" not in path.parts}


def compiled(python: Path) -> list[Path]:
    """Compile and return the bytecode that a server loads at start, because the root file system is read-only."""
    sources = [file for file in ask(python, "-B", "-c", STARTED).splitlines() if file.endswith(".py")]
    for source in sources:
        compile(source, doraise=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return [Path(cache_from_source(source)) for source in sources]


def ask(program: str | Path, *arguments: str | Path) -> str:
    """Return the output of a program; exit if it fails."""
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {program} failed; see above")
    return done.stdout


def files(folder: Path, ignore: object = None) -> list[Path]:
    """Return the files of a folder and its subfolders, without those that `ignore` names."""
    found = []
    for here, folders, names in os.walk(folder):
        ignored = ignore(here, [*folders, *names]) if callable(ignore) else set()
        folders[:] = [name for name in folders if name not in ignored]
        found += [Path(here, name) for name in names if name not in ignored]
    return found


def copy(path: Path, target: Path) -> None:
    """Copy a file to the same place, with every link on the way to it."""
    here = Path("/")
    for position, part in enumerate(path.parts[1:], 2):
        here /= part
        there = target / here.relative_to("/")
        if here.is_symlink():
            if not there.is_symlink():
                there.symlink_to(here.readlink())
            return copy(Path(os.path.normpath(here.parent / here.readlink()), *path.parts[position:]), target)
        if here.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            shutil.copy2(here, there)
    return None


def record(kept: list[Path], target: Path) -> None:
    """Write down the Debian packages that the kept files are from, with their licences."""
    real = {path.resolve() for path in kept}
    owners = set()
    for listing in Path("/var/lib/dpkg/info").glob("*.list"):
        paths = [Path(line) for line in listing.read_text(encoding="utf-8").splitlines()]
        if any(path.resolve() in real for path in paths if not path.is_symlink()):
            owners.add(listing.stem.split(":")[0])
    folder = target / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    for entry in Path("/var/lib/dpkg/status").read_text(encoding="utf-8").split("\n\n"):
        name = entry.partition("\n")[0].removeprefix("Package: ")
        if name in owners:
            (folder / name).write_text(entry + "\n", encoding="utf-8")
            licence = Path("/usr/share/doc", name, "copyright")
            if licence.exists():
                copy(licence, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

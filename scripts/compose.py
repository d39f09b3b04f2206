"""Write .env beside compose.yaml: versions of images on every run, secrets once. Needs only Python and git.

`make compose`, `make compose-down` and `make clean` run it. Versions are those of deploy/versions.yaml; that of the
server is the output of `git describe`, its tag by `make image`. Other lines of an existing .env stay as they are.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = Path("models") / "reviews-parsing-ner-aspects"
OWN = "reviews-parsing-ner-aspects"
IMAGE = re.compile(r"^ +image: (\S+):\$\{([A-Z0-9_]+):\?", re.MULTILINE)
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+):\?")
LISTED = re.compile(r'^    ([\w.-]+/[\w./-]+): "?([^"\s]+)"?$', re.MULTILINE)


def main(project: Path = PROJECT) -> None:
    """Write .env; exit if compose.yaml runs an image that deploy/versions.yaml does not list."""
    text = (project / FOLDER / "compose.yaml").read_text(encoding="utf-8")
    versions = image_versions(text, (project / "deploy" / "versions.yaml").read_text(encoding="utf-8"), project)
    file = project / FOLDER / ".env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in versions]
    # A variable without a value is as good as missing: compose refuses it.
    present = {name.strip() for name, _, value in (line.partition("=") for line in kept) if value.strip()}
    required = dict.fromkeys(VARIABLE.findall(text))
    missing = [name for name in required if name not in versions and name not in present]
    kept = [line for line in kept if line.partition("=")[0].strip() not in missing]
    kept += [f"{name}={secrets.token_hex(24)}" for name in missing]
    replace(file, "".join(f"{line}\n" for line in (*kept, *(f"{name}={versions[name]}" for name in versions))))


def image_versions(compose: str, listed: str, project: Path = PROJECT) -> dict[str, str]:
    """Return the versions of the images that compose.yaml runs, by the variables that it names them with."""
    versions = dict(LISTED.findall(listed))
    images = {variable: image for image, variable in IMAGE.findall(compose)}
    if unlisted := sorted(set(images.values()) - {*versions, OWN}):
        sys.exit(
            f"error: compose.yaml runs {', '.join(unlisted)}, which deploy/versions.yaml does not list; add it there"
        )
    return {name: describe(project) if image == OWN else versions[image] for name, image in images.items()}


def describe(project: Path) -> str:
    """Return the tag of the server's image."""
    command = ["git", "-C", str(project), "describe", "--tags", "--always", "--dirty"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: git describe failed in {project}, and names the server's image; see above")
    return done.stdout.strip()


def replace(file: Path, text: str) -> None:
    """Replace a file that only its owner may read, as a whole or not at all."""
    new = file.with_name(".env.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(file)


if __name__ == "__main__":
    main()

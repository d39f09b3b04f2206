"""`make image`: build the server's image, and write its bill of materials (CycloneDX).

Its tags are the output of `git describe` and the version of the project, which the chart runs by default.
CONTAINER_ENGINE names the program that builds; the default is docker or podman, the first that works.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

PROJECT = Path(__file__).resolve().parent.parent
NAME = "reviews-parsing-ner-aspects"
DOCKERFILE = PROJECT / "models" / NAME / "Dockerfile"

# Run in the image: prints name, version and licence of each Python and Debian package, and the version of Python.
INVENTORY = """
import json, platform, re
from importlib.metadata import distributions
from pathlib import Path

def field(text, name):
    found = re.search(f"^{name}: (.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""

python = [(d.name, d.version, d.metadata.get("License-Expression") or "") for d in distributions()]
debian = [p.read_text() for p in Path("/var/lib/dpkg/status.d").iterdir()]
debian = [(field(text, "Package"), field(text, "Version"), field(text, "Architecture")) for text in debian]
system = "{ID}-{VERSION_ID}".format(**platform.freedesktop_os_release())
versions = {"python": platform.python_version(), "system": system}
print(json.dumps({"pypi": sorted(python), "deb": sorted(debian), **versions}))
"""


def main() -> None:
    """Build the image and write its bill of materials."""
    engine = container_engine()
    version = git("describe", "--tags", "--always", "--dirty")
    image = f"{NAME}:{version}"
    build = [engine, "build", "--file", str(DOCKERFILE), "--tag", image, "--tag", f"{NAME}:{project_version()}"]
    if Path(engine).name.startswith("podman"):
        build += ["--format", "docker"]  # the OCI format has no health check
    facts = {"version": version, "revision": git("rev-parse", "HEAD"), "created": git("log", "-1", "--format=%cI")}
    for name, value in facts.items():
        build += ["--label", f"org.opencontainers.image.{name}={value}"]
    if base := os.environ.get("PYTHON_IMAGE"):
        build += ["--build-arg", f"PYTHON_IMAGE={base}"]
    if subprocess.run([*build, str(PROJECT)], check=False).returncode != 0:
        sys.exit(f"error: {image} could not be built; see above")
    size = int(run(engine, "image", "inspect", "--format", "{{.Size}}", image))
    bom = PROJECT / "dist" / f"{NAME}-{version}.cdx.json"
    bom.parent.mkdir(exist_ok=True)
    bom.write_text(bill_of_materials(engine, image, version), encoding="utf-8")
    print(f"{image}  {size / 1e6:.0f} MB\n{bom.relative_to(PROJECT)}")


def project_version() -> str:
    """Return the version in pyproject.toml."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def container_engine() -> str:
    """Return the program that builds images; exit if neither docker nor podman works."""
    if chosen := os.environ.get("CONTAINER_ENGINE"):
        return chosen
    for engine in ("docker", "podman"):
        if shutil.which(engine) and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            return engine
    sys.exit("error: neither docker nor podman works here; install one, or name another in CONTAINER_ENGINE")


def bill_of_materials(engine: str, image: str, version: str) -> str:
    """Return the packages of the image as a CycloneDX document."""
    inside = json.loads(run(engine, "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", INVENTORY))
    bom = Bom()
    bom.metadata.tools.components.add(this_component())
    bom.metadata.component = Component(type=ComponentType.CONTAINER, name=NAME, version=version, bom_ref=image)
    components = [part("python", inside["python"], PackageURL("generic", None, "python", inside["python"]))]
    for name, number, licence in inside["pypi"]:
        components.append(
            part(name, number, PackageURL("pypi", None, re.sub(r"[-_.]+", "-", name).lower(), number), licence)
        )
    for name, number, architecture in inside["deb"]:
        purl = PackageURL("deb", "debian", name, number, {"arch": architecture, "distro": inside["system"]})
        components.append(part(name, number, purl))
    bom.components.update(components)
    bom.register_dependency(bom.metadata.component, components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def part(name: str, version: str, purl: PackageURL, licence: str = "") -> Component:
    """Return a package as a component of the bill of materials."""
    component = Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=purl.to_string())
    if licence:
        component.licenses.add(LicenseExpression(licence))
    return component


def git(*arguments: str) -> str:
    """Return the output of a git command in the project."""
    return run("git", "-C", str(PROJECT), *arguments)


def run(*command: str) -> str:
    """Return the output of a program. Raises CalledProcessError if it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()

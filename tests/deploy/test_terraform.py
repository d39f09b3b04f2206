"""GKE's Terraform fits the provider's schema, passes its tests in every environment, and is clean by checkov."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TERRAFORM = PROJECT / "deploy" / "gke" / "terraform"
SHARED = Path(os.environ.get("REVIEWS_PARSING_SHARED", PROJECT.parent / "shared"))
CHECK = SHARED / "terraform-check" / "terraform-check"
CHECKOV = "checkov==3.3.30"
ENVIRONMENTS = sorted(path.stem for path in (TERRAFORM / "environments").glob("*.tfvars"))

# What Terraform's tests must say of a careless change: file, what stands there, what the change would make of it.
MISTAKES = {
    "A name does not begin with the environment's": ("network.tf", '"${local.prefix}-gateway"', '"gateway"'),
    "A pool gives its nodes public addresses": (
        "cluster.tf",
        "network_config {\n    enable_private_nodes = true",
        "network_config {\n    enable_private_nodes = false",
    ),
    "The cluster gives its nodes public addresses": (
        "cluster.tf",
        "enable_private_nodes    = true",
        "enable_private_nodes    = false",
    ),
    "Nodes run as Compute Engine's default service account": (
        "cluster.tf",
        "service_account = google_service_account.nodes.email\n    # The scope",
        'service_account = "default"\n    # The scope',
    ),
    "Nodes may do more in the project": ("identities.tf", "roles/container.defaultNodeServiceAccount", "roles/editor"),
    "Another Kubernetes service account": ("identities.tf", "jenkins-builds/image", "jenkins/default"),
    "A pool is not shielded": (
        "cluster.tf",
        'mode = "GKE_METADATA"\n    }\n\n    # GKE\'s own pods',
        'mode = "GCE_METADATA"\n    }\n\n    # GKE\'s own pods',
    ),
    "Pods that did not ask for it would run on spot nodes": ("cluster.tf", '"NO_SCHEDULE"', '"PREFER_NO_SCHEDULE"'),
    "Without Dataplane V2": ("cluster.tf", '"ADVANCED_DATAPATH"', '"LEGACY_DATAPATH"'),
    "that no driver makes": ("cluster.tf", "enabled = var.shared_models", "enabled = false"),
    "The bucket is public": ("storage.tf", '"enforced"', '"inherited"'),
    "terraform destroy would delete production": ("storage.tf", "= !var.deletion_protection", "= true"),
    "though no network was authorized": (
        "cluster.tf",
        "enable_private_endpoint = !local.lists",
        "enable_private_endpoint = local.lists",
    ),
    "Others than the listed networks": (
        "cluster.tf",
        "allow_external_traffic = !local.lists_networks",
        "allow_external_traffic = true",
    ),
    "Jobs of other repositories or branches": ("github.tf", "\n    \"assertion.ref == 'refs/heads/main'\",", ""),
    "Missing expected failure": ("variables.tf", '!endswith(range, "/0")', "true"),
}


def terraform_check(folder: Path, environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [CHECK, folder],
        env=os.environ | {"TF_CLI_ARGS_test": f"-var-file=environments/{environment}.tfvars"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


needs_terraform = pytest.mark.skipif(not CHECK.exists(), reason=f"the provider's schema is not here: {CHECK}")


@needs_terraform
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_is_valid_and_passes_its_tests(environment: str) -> None:
    status, output = terraform_check(TERRAFORM, environment)
    assert status == 0, output
    assert re.search(r"Success! 5 passed, 0 failed", output)


@needs_terraform
def test_its_tests_notice_mistakes(tmp_path: Path) -> None:
    folder = tmp_path / "terraform"
    shutil.copytree(TERRAFORM, folder, ignore=shutil.ignore_patterns(".terraform*"))
    for name, before, after in MISTAKES.values():
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(before) == 1, before
        (folder / name).write_text(text.replace(before, after), encoding="utf-8")
    status, output = terraform_check(folder, "prod")
    assert status != 0
    said = " ".join(re.sub("[│╷╵]", " ", output).split())
    assert not [message for message in MISTAKES if message not in said], output


def test_checkov_finds_nothing_that_is_not_explained() -> None:
    # An environment of its own, which uv keeps: checkov's dependencies do not go together with ours.
    checkov = [sys.executable, "-m", "uv", "tool", "run", "--python", sys.executable, CHECKOV]
    what = ["--directory", str(TERRAFORM), "--framework", "terraform", "secrets", "--output", "json", "--skip-download"]
    done = subprocess.run([*checkov, *what], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(("{", "[")), done.stderr
    reports = json.loads(done.stdout)
    results = [report["results"] for report in (reports if isinstance(reports, list) else [reports])]
    failed = [(check["check_id"], check["resource"]) for result in results for check in result["failed_checks"]]
    assert not failed
    assert not any(result["parsing_errors"] for result in results)
    assert sum(len(result["passed_checks"]) for result in results) > 40
    for check in (check for result in results for check in result["skipped_checks"]):
        assert len(check["check_result"]["suppress_comment"].split()) > 5, check["check_id"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_nobody_s_in_particular(environment: str) -> None:
    given = (TERRAFORM / "environments" / f"{environment}.tfvars").read_text(encoding="utf-8")
    declared = (TERRAFORM / "variables.tf").read_text(encoding="utf-8")
    names = set(re.findall(r"^(\w+)\s*=", given, re.MULTILINE))
    assert names <= set(re.findall(r'^variable "(\w+)"', declared, re.MULTILINE))
    assert not names & {"project", "domain", "master_authorized_networks"}
    assert re.findall(r'^environment\s*= "(\w+)"', given, re.MULTILINE) == [environment]


@pytest.mark.parametrize("file", sorted(TERRAFORM.rglob("*.tf*")), ids=lambda path: path.name)
def test_no_file_names_a_project_an_account_or_a_key(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = r"[\w-]+\.iam\.gserviceaccount\.com|\bprojects/[a-z]|\bcredentials\s*=|PRIVATE KEY|AIza[\w-]{30}"
    assert not re.findall(named, text)
    assert set(re.findall(r'^\s*project\s*=\s*"([^"$]+)"', text, re.MULTILINE)) <= {"some-project-1", "Some Project"}

"""The list of releases, the values of what others made, the scripts, and what their documents say about them."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import helm_python
import jsonschema_rs
import pytest
import yaml
from mlflow import MlflowClient
from openapi_spec_validator import OpenAPIV2SpecValidator

from reviews_parsing import pipelines, pretrained, registry
from reviews_parsing.errors import TrackingError
from reviews_parsing.registry import runs
from reviews_parsing.serving.openapi import document
from reviews_parsing.settings import MODEL_NAME, Settings

from .certificates import certificate, internal, issue
from .rendering import container, needs_schemas, one, predictor, rendered, validate

PROJECT = Path(__file__).parent.parent.parent
DEPLOY = PROJECT / "deploy"
SCRIPT = DEPLOY / "cluster.sh"
SCRIPTS = [SCRIPT, DEPLOY / "kind" / "cluster.sh", DEPLOY / "gke" / "cluster.sh"]
HELMFILE = DEPLOY / "helmfile.yaml.gotmpl"
PATIENCE = 90.0
# What cluster.sh writes.
STATE: dict[str, dict[str, Any]] = {
    "kind": {"image": {"tag": "0123456789ab"}},
    "gke": {
        "domain": "endpoints.proj-1.cloud.goog",
        "gatewayAddress": "203.0.113.7",
        "acmeEmail": "ops@example.org",
        "image": {"repository": "europe-west1-docker.pkg.dev/p/r/image", "digest": f"sha256:{'0' * 64}"},
        "mlflow": {"bucket": "a-bucket", "serviceAccount": "mlflow@p.iam.gserviceaccount.com"},
        "inference": {"serviceAccount": "inference@p.iam.gserviceaccount.com"},
        "jenkins": {
            "repository": "https://example.org/r.git",
            "agentImage": "r/ci@sha256:1",
            "image": "r/image",
            "serviceAccount": "jenkins@p.iam.gserviceaccount.com",
        },
    },
}
Values = dict[str, Any]


def merged(first: Values, second: Values) -> Values:
    """As Helm and helmfile merge values: maps by key, all else replaced, a null takes a key away."""
    return without_nulls(joined(first, second))


def joined(first: Values, second: Values) -> Values:
    """As Helm merges files of values: a null takes a key of the chart away, not of another file."""
    result = dict(first)
    for key, value in second.items():
        old = result.get(key)
        result[key] = joined(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def without_nulls(values: Values) -> Values:
    return {
        key: without_nulls(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def helmfile(cluster: str, tmp_path: Path, extra: Values | None = None) -> Values:
    """Return the releases of a cluster with their values, rendered by Helm's own template engine."""
    head, _, body = HELMFILE.read_text(encoding="utf-8").partition("\n---\n")
    values: Values = {}
    for part in [*environment_values(head, cluster), STATE[cluster], extra or {}]:
        values = merged(values, part)
    chart = tmp_path / cluster
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: helmfile, version: 0.1.0}")
    (chart / "templates" / "helmfile.yaml").write_text(body, encoding="utf-8")
    with helm_python.Chart.load(str(chart)) as loaded:
        (text,) = loaded.render(values, name="helmfile", namespace="default").values()
    rendered: Values = yaml.safe_load(text)
    return rendered


def environment_values(head: str, cluster: str) -> list[Values]:
    """Return the values of an environment, with the files among them read."""
    parts = yaml.safe_load(head)["environments"][cluster]["values"]
    return [yaml.safe_load((DEPLOY / part).read_text()) if isinstance(part, str) else part for part in parts]


def scripts() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)


def values_of(release: Values) -> Values:
    """All that a release gives its chart."""
    values: Values = {}
    for part in release.get("values", []):
        values = joined(values, part if isinstance(part, dict) else yaml.safe_load((DEPLOY / part).read_text()))
    return values


@pytest.fixture(params=["kind", "gke"])
def releases(request: pytest.FixtureRequest, tmp_path: Path) -> list[Values]:
    """Return the releases that are installed there."""
    found = [r for r in helmfile(request.param, tmp_path)["releases"] if r.get("installed", True)]
    assert found
    return found


def named(releases: list[Values], name: str) -> Values:
    return next(r for r in releases if r["name"] == name)


def test_releases_come_in_an_order_that_exists(releases: list[Values]) -> None:
    graph = {f"{r['namespace']}/{r['name']}": set(r.get("needs", [])) for r in releases}
    assert len(graph) == len(releases)
    assert {need for needs in graph.values() for need in needs} <= set(graph)
    order = list(TopologicalSorter(graph).static_order())
    assert order[-1] == "reviews-parsing/reviews-parsing"
    # cert-manager does not start before the kinds of Gateway API are there, which come with Istio's.
    assert "istio-system/istio-base" in graph["cert-manager/cert-manager"]
    # Whoever brings a monitor or a certificate comes after what knows these kinds.
    brought = [("prometheus", "cert-manager"), *((name, "prometheus") for name in ("ingress", "jaeger"))]
    for name, kind in brought:
        release = named(releases, name)
        assert any(need.endswith(f"/{kind}") for need in graph[f"{release['namespace']}/{name}"])
    assert {r["labels"]["tier"] for r in releases} == {"platform", "application"}


def test_every_release_waits_but_the_door_and_the_last(releases: list[Values], tmp_path: Path) -> None:
    defaults = helmfile("kind", tmp_path / "again")["helmDefaults"]
    assert (defaults["wait"], defaults["waitForJobs"]) == (True, True)
    assert [r["name"] for r in releases if not r.get("wait", True)] == ["ingress", "reviews-parsing"]


def test_every_chart_is_pinned_and_every_file_is_there(releases: list[Values], tmp_path: Path) -> None:
    repositories = {r["name"] for r in helmfile("gke", tmp_path / "again")["repositories"]}
    for release in releases:
        chart = release["chart"]
        if chart.startswith("./"):
            assert (DEPLOY / chart / "Chart.yaml").is_file(), chart
        else:
            assert chart.split("/")[0] in repositories, chart
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", str(release["version"])), chart
        for part in release.get("values", []):
            assert isinstance(part, dict) or (DEPLOY / part).is_file(), part
        for hook in release.get("hooks", []):
            files = [a for a in hook["args"] if a.startswith("services/")]
            assert all((DEPLOY / file).exists() for file in files), files


@needs_schemas
@pytest.mark.parametrize("name", ["ingress", "reviews-parsing"])
def test_our_charts_make_sound_manifests_of_what_the_list_gives_them(releases: list[Values], name: str) -> None:
    release = named(releases, name)
    with helm_python.Chart.load(str(DEPLOY / release["chart"])) as chart:
        files = chart.render(values_of(release), name=name, namespace=release["namespace"])
    texts = [text for file, text in files.items() if not file.endswith("NOTES.txt")]
    manifests = [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]
    assert manifests
    for manifest in manifests:
        validate(manifest)


@needs_schemas
def test_prometheus_watches_jaeger(releases: list[Values]) -> None:
    values = values_of(named(releases, "jaeger"))
    (monitor,) = (extra for extra in values["extraObjects"] if extra["kind"] == "ServiceMonitor")
    validate(monitor)
    # As chart 4.11.1 names the Service's port for the metrics of Jaeger itself, which is always 8888.
    assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["internal-metrics"]
    (reader,) = values["userconfig"]["service"]["telemetry"]["metrics"]["readers"]
    assert reader["pull"]["exporter"]["prometheus"] == {"host": "0.0.0.0", "port": 8888}


def test_the_kinds_of_prometheus_are_upgraded_with_its_chart(releases: list[Values]) -> None:
    """Chart prometheus 88.5.3 has them in `crds/`, which Helm installs once; its job is the only way to newer ones."""
    upgrade = values_of(named(releases, "prometheus"))["crds"]["upgradeJob"]
    assert upgrade["enabled"] is True
    # By default the newest busybox, and the kubectl of the cluster's version, whose image need not exist.
    assert set(upgrade["image"]) == {"busybox", "kubectl"}
    assert all({"registry", "repository", "tag"} == set(image) for image in upgrade["image"].values())


@pytest.mark.parametrize(("cluster", "watched"), [("kind", True), ("gke", False)])
def test_prometheus_asks_coredns_where_there_is_one(cluster: str, watched: bool, tmp_path: Path) -> None:
    """The chart's Service takes GKE's kube-dns for CoreDNS: the alert TargetDown would never end."""
    values = values_of(named(helmfile(cluster, tmp_path)["releases"], "prometheus"))
    assert values.get("coreDns", {}).get("enabled", True) is watched


def test_what_the_door_leads_to_is_what_the_list_makes(releases: list[Values]) -> None:
    made = {r["name"]: r["namespace"] for r in releases}
    defaults = yaml.safe_load((DEPLOY / "charts" / "ingress" / "values.yaml").read_text())
    routes = merged(defaults, values_of(named(releases, "ingress")))["routes"]
    assert routes["jenkins"].get("enabled", True) == ("jenkins" in made)
    for host, route in routes.items():
        if host != "demo" and route.get("enabled", True):
            assert made[route["service"]] == route["namespace"], host
    gateway = values_of(named(releases, "kserve"))["kserve"]["controller"]["gateway"]
    door = f"{named(releases, 'ingress')['namespace']}/{defaults['gateway']['name']}"
    assert gateway["ingressGateway"]["kserveGateway"] == door


@pytest.mark.parametrize("page", [False, True])
def test_the_page_has_a_route_if_it_is_enabled(page: bool, tmp_path: Path) -> None:
    releases = helmfile("kind", tmp_path, {"page": page})["releases"]
    defaults = yaml.safe_load((DEPLOY / "charts" / "ingress" / "values.yaml").read_text())
    routes = merged(defaults, values_of(named(releases, "ingress")))["routes"]
    assert routes["demo"].get("enabled", True) == page


def test_images_are_pinned() -> None:
    ours = [f for f in (DEPLOY / "services").glob("*/*.yaml") if f.parent.name != "jenkins"]
    for file in ours:
        text = file.read_text(encoding="utf-8")
        assert "latest" not in re.findall(r"tag: *\"?([\w.-]+)", text), file
        for image in re.findall(r"image(?:Name)?: (\S+/\S+)", text):
            assert re.search(r":v?\d[\w.-]*@sha256:[0-9a-f]{64}$", image), image


def test_no_credential_stands_in_a_file(releases: list[Values]) -> None:
    script = scripts()
    assert "--from-literal" not in script  # it would stand on a command line
    for release in releases:
        if release["name"] == "jenkins":
            continue
        for path, value in leaves(values_of(release)):
            if re.search(r"(password|secretkey|accesskey|token)$", path[-1], re.IGNORECASE):
                assert isinstance(value, bool), path
            if "Secret" in "".join(path) and path[-1] in ("name", "existingSecret", "existingConfigSecret"):
                # Made by the script, or by CloudNativePG.
                assert f" {value}" in script or value == "mlflow-postgres-app", path


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, str(key)))
    elif path:
        yield path, values


def test_grafana_shows_nothing_without_a_user(releases: list[Values]) -> None:
    """Its metrics have a page that needs none, on the host that the gateway opens to everybody."""
    ini = values_of(named(releases, "grafana"))["grafana.ini"]
    assert (ini["metrics"], ini["auth.anonymous"]) == ({"enabled": False}, {"enabled": False})


@needs_schemas
def test_grafana_may_read_dashboards_and_no_secret(releases: list[Values]) -> None:
    values = values_of(named(releases, "grafana"))
    (role,) = values["extraObjects"]
    validate(role)
    # The chart binds its own service account to the role of that name, in its namespace.
    assert role["metadata"] == {"name": values["rbac"]["useExistingRole"], "namespace": "monitoring"}
    assert role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    assert values["sidecar"]["dashboards"]["resource"] == "configmap"


@pytest.mark.parametrize("receiver", ["", "slack", "webhook"])
def test_alerts_go_to_the_receiver_that_is_named(receiver: str, tmp_path: Path) -> None:
    releases = helmfile("gke", tmp_path, {"alerts": {"receiver": receiver}})["releases"]
    values = values_of(named(releases, "prometheus"))["alertmanager"]
    if not receiver:
        assert "config" not in values
        return
    (secret,) = values["alertmanagerSpec"]["secrets"]
    config = values["config"]
    names = {found["name"]: found for found in config["receivers"]}
    people = names[config["route"]["receiver"]]
    assert all(route["receiver"] in names for route in config["route"]["routes"])
    assert any("Watchdog" in matcher for route in config["route"]["routes"] for matcher in route["matchers"])
    ((target,),) = (found for kind, found in people.items() if kind == f"{receiver}_configs")
    (file,) = (value for key, value in target.items() if key.endswith("url_file"))
    assert file == f"/etc/alertmanager/secrets/{secret}/url"
    assert target["send_resolved"] is True
    assert f"secret monitoring {secret}" in scripts()
    if receiver == "slack":
        assert ".Annotations.runbook_url" in target["text"]


def test_a_receiver_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="pager is neither slack nor webhook"):
        helmfile("gke", tmp_path, {"alerts": {"receiver": "pager"}})


@needs_schemas
def test_the_database_is_what_its_operator_takes_and_mlflow_uses() -> None:
    cluster = yaml.safe_load((DEPLOY / "services" / "mlflow" / "postgres.yaml").read_text())
    validate(cluster)
    with pytest.raises(jsonschema_rs.ValidationError):
        validate({**cluster, "spec": {**cluster["spec"], "instance": 1}})
    name, initdb = cluster["metadata"]["name"], cluster["spec"]["bootstrap"]["initdb"]
    values = yaml.safe_load((DEPLOY / "services" / "mlflow" / "values.yaml").read_text())
    store, auth = values["backendStore"], values["auth"]["postgres"]
    for server in (store["postgres"], auth):
        assert (server["host"], server["database"]) == (f"{name}-rw", initdb["database"])
    assert store["existingDatabaseSecret"] == auth["existingSecret"] == {"name": f"{name}-app"}


def test_the_kind_cluster_opens_the_gateways_ports_on_loopback_only() -> None:
    cluster = yaml.safe_load((DEPLOY / "kind" / "cluster.yaml").read_text())
    assert (cluster["kind"], cluster["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert set(cluster) == {"kind", "apiVersion", "name", "containerdConfigPatches", "nodes"}
    (patch,) = cluster["containerdConfigPatches"]
    (settings,) = tomllib.loads(patch)["plugins"].values()
    script = (DEPLOY / "kind" / "cluster.sh").read_text(encoding="utf-8")
    assert f"config={settings['registry']['config_path']}/kind-registry:5000" in script
    (node,) = cluster["nodes"]
    assert set(node) == {"role", "image", "extraPortMappings"}
    assert re.fullmatch(r"kindest/node:v\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", node["image"])
    ports = yaml.safe_load((DEPLOY / "charts" / "ingress" / "values.yaml").read_text())["gateway"]["nodePorts"]
    mappings = node["extraPortMappings"]
    assert {(m["hostPort"], m["containerPort"]) for m in mappings} == {(80, ports["http"]), (443, ports["https"])}
    assert {(m["listenAddress"], m["protocol"]) for m in mappings} == {("127.0.0.1", "TCP")}


def test_versions_that_stand_in_two_files_are_one() -> None:
    values = yaml.safe_load((DEPLOY / "services" / "mlflow" / "values.yaml").read_text())
    image, migration = values["image"], values["initImages"]["mlflowDbMigration"]
    assert (image["repository"], image["tag"]) == (migration["repository"], migration["tag"])
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    client = re.search(r"^mlflow==(\d+\.\d+)\.", lock, re.MULTILINE)
    assert client
    assert image["tag"].startswith(f"v{client[1]}.")


def test_what_the_script_asks_terraform_for_is_an_output() -> None:
    outputs = (DEPLOY / "gke" / "terraform" / "outputs.tf").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\(output (\w+)\)", scripts()))
    assert {"cluster_name", "gateway_ip", "mlflow_bucket", "get_credentials"} <= asked
    assert asked <= set(re.findall(r'^output "(\w+)"', outputs, re.MULTILINE))


def test_scripts_pass_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or "shellcheck"
    assert set(SCRIPTS) <= set(DEPLOY.rglob("*.sh"))
    command = [shellcheck, "--external-sources", *map(str, DEPLOY.rglob("*.sh"))]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Return the exit status of the script and its output on stderr."""
    bash = shutil.which("bash") or "bash"
    done = subprocess.run(
        [bash, str(SCRIPT), *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [(), ("kind",), ("kind", "sideways"), ("kind", "up", "dev"), ("aks", "up")])
def test_what_the_script_does_not_know_ends_with_its_usage(arguments: tuple[str, ...]) -> None:
    status, said = run(*arguments)
    assert status == 2
    assert said.splitlines() == [
        "deploy/cluster.sh kind up|down|logins",
        "deploy/cluster.sh gke  up|down|logins ENV",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("gke", "up"), "which environment? make gke-up ENV=dev"),
        (("gke", "down"), "which environment? make gke-down ENV=dev"),
        (
            ("gke", "up", "moon"),
            "there is no environment moon: deploy/gke/terraform/environments/moon.tfvars is missing",
        ),
    ],
)
def test_a_wrong_environment_ends_with_one_line(arguments: tuple[str, ...], line: str) -> None:
    assert run(*arguments) == (1, f"error: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "tools"),
    [
        (("kind", "up"), ["docker", "kind", "kubectl", "helm", "helmfile", "openssl", "git", "make"]),
        (("kind", "down"), ["docker", "kind"]),
        (("gke", "down", "dev"), ["gcloud", "gke-gcloud-auth-plugin", "terraform", "kubectl"]),
    ],
)
def test_every_missing_tool_gets_one_line(arguments: tuple[str, ...], tools: list[str], tmp_path: Path) -> None:
    for name in ("dirname", "mkdir", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    status, said = run(*arguments, PATH=str(tmp_path))
    assert status == 1
    assert [line.split(" is missing: ")[0] for line in said.splitlines()] == [f"error: {tool}" for tool in tools]
    listed = yaml.safe_load((DEPLOY / "versions.yaml").read_text(encoding="utf-8"))["versions"]["tools"]
    for tool in set(tools) & set(listed):
        assert f"error: {tool} is missing: {listed[tool]}, https://" in said


def test_make_leads_to_the_script() -> None:
    # What a make around these tests says is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for arguments, command in [
        (["kind-up"], "deploy/cluster.sh kind up"),
        (["kind-down"], "deploy/cluster.sh kind down"),
        (["gke-up", "ENV=dev"], "deploy/cluster.sh gke up dev"),
        (["gke-down", "ENV=dev"], "deploy/cluster.sh gke down dev"),
    ]:
        # -o: as if everything were installed.
        make = ["make", "-n", "-o", ".venv/installed", *arguments]
        done = subprocess.run(make, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == command


def test_cloud_endpoints_documents_are_valid_and_say_what_the_server_says(tmp_path: Path) -> None:
    domain = "endpoints.proj-1.cloud.goog"
    command = [sys.executable, str(DEPLOY / "gke" / "endpoints.py"), domain]
    subprocess.run([*command, "203.0.113.7", str(tmp_path)], check=True)
    documents = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    routes = yaml.safe_load((DEPLOY / "charts" / "ingress" / "values.yaml").read_text())["routes"]
    assert set(documents) == {f"{host}.{domain}" for host in ("api", *routes)}
    for name, found in documents.items():
        OpenAPIV2SpecValidator(found).validate()
        assert found["host"] == name
        assert found["x-google-endpoints"] == [{"name": name, "target": "203.0.113.7"}]
        assert bool(found["paths"]) == name.startswith("api.")
    ours = documents[f"api.{domain}"]["paths"]
    server = {p: item for p, item in document(16)["paths"].items() if not p.startswith("/v2/repository")}
    assert {p: set(item) for p, item in ours.items()} == {p: set(i) - {"parameters"} for p, i in server.items()}
    ids = [operation["operationId"] for item in ours.values() for operation in item.values()]
    assert len(set(ids)) == len(ids)
    refused = subprocess.run([*command, "300.1.1.1", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("error: ")


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """MLflow as on GKE, trusted by clients; yields its address."""
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "ca.crt"))
    values = values_of(named(helmfile("gke", tmp_path)["releases"], "mlflow"))
    with mlflow_server(tmp_path, joined(values, {"extraArgs": {"workers": "1"}})) as (address, _):
        yield address


@contextmanager
def mlflow_server(folder: Path, values: Values) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start MLflow with authentication and TLS, as its chart does; yield its address and its process."""
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/mlflow.db\nadmin_username = admin\n"
        "admin_password = 0123456789abcdef\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        # A third of a second for each request is spent on the hash of the password.
        "auth_cache_ttl_seconds = 60\n"
    )
    (mounted,) = (mount["mountPath"] for mount in values["extraVolumeMounts"])
    issue(folder, certificate("mlflow", "mlflow-tls"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = values["extraArgs"]["workers"]
    command = ["server", "--host=127.0.0.1", f"--port={port}", f"--workers={workers}", "--app-name=basic-auth"]
    stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(values["serverAllowedHosts"]),
        **{name: value.replace(mounted, str(folder)) for name, value in values["extraEnvVars"].items()},
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, *stores, "--serve-artifacts"],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        address = f"https://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while ask(f"{address}/health") != 200:
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield address, server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


def ask(url: str, user: str = "", host: str = "", body: object = None) -> int:
    """Return the status of the response; 0 without a response."""
    headers = {"Content-Type": "application/json"}
    if user:
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    if host:
        headers["Host"] = host
    data = None if body is None else json.dumps(body).encode()
    trust = ssl.create_default_context(cafile=os.environ["MLFLOW_TRACKING_SERVER_CERT_PATH"])
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10, context=trust) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@pytest.fixture
def administrator(mlflow: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Return a client of an administrator of MLflow, for whom deploy/seed.py can be imported."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    log_in("admin:0123456789abcdef", monkeypatch)
    monkeypatch.syspath_prepend(str(DEPLOY))
    return MlflowClient(mlflow, mlflow)


def log_in(login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user, _, password = login.partition(":")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def set_champion(administrator: MlflowClient) -> None:
    """Make version 1 the champion, so that deploy/seed.py has none to make."""
    administrator.create_registered_model(MODEL_NAME)
    run = administrator.create_run(administrator.create_experiment(Settings().experiment)).info
    administrator.create_model_version(MODEL_NAME, f"{run.artifact_uri}/ner_aspect", run.run_id)
    administrator.set_registered_model_alias(MODEL_NAME, "champion", "1")


def test_the_servers_user_may_read_and_not_write_and_mlflow_answers_to_its_names_only(
    mlflow: str, administrator: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import seed

    seed.make_user("inference", "first-password-of-it")
    seed.make_user("inference", "second-password-of-it")
    reader, experiment = "inference:second-password-of-it", f"{mlflow}/api/2.0/mlflow/experiments"
    # A user whom nothing was granted has no access.
    assert ask(f"{experiment}/get?experiment_id=0", reader) == 403
    seed.grant("inference", "experiment", "*", "READ")
    assert ask(f"{experiment}/get?experiment_id=0", reader) == 200
    assert ask(f"{experiment}/get?experiment_id=0", "inference:first-password-of-it") == 401
    assert ask(f"{experiment}/get?experiment_id=0") == 401
    assert ask(f"{experiment}/update", reader, body={"experiment_id": "0", "new_name": "x"}) == 403
    for host in ("mlflow.mlflow.svc.cluster.local", "mlflow.mlflow.svc", "mlflow.endpoints.proj-1.cloud.goog"):
        assert ask(f"{experiment}/get?experiment_id=0", reader, host) == 200, host
    assert ask(f"{experiment}/get?experiment_id=0", reader, "elsewhere.example") == 403
    # The kubelet asks by the pod's address.
    assert ask(f"{mlflow}/health", host="10.244.0.7:5000") == 200

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(TrackingError, match="MLflow refused users/create: 401"):
        seed.make_user("inference", "third-password-of-it")

    # Nobody is answered without TLS, and no password is sent to a server that is not trusted.
    assert ask(f"{mlflow}/health".replace("https:", "http:")) == 0
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    with pytest.raises(TrackingError, match=r"certificate verify failed.*; set MLFLOW_TRACKING_SERVER_CERT_PATH to "):
        registry.champion()


def test_each_user_of_mlflow_has_the_rights_of_its_role(
    mlflow: str, administrator: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import seed

    set_champion(administrator)
    monkeypatch.setenv("READER_USERNAME", "reader")
    monkeypatch.setenv("READER_PASSWORD", "first-password-of-READER")
    seed.main()
    assert capsys.readouterr().out == f"user reader made\nchampion of {MODEL_NAME}: version 1\n"
    for role in ("GATE", "TRAINER", "PROMOTER"):
        monkeypatch.setenv(f"{role}_USERNAME", role.lower())
        monkeypatch.setenv(f"{role}_PASSWORD", f"first-password-of-{role}")
    seed.main()
    seed.main()
    assert "user promoter made" in capsys.readouterr().out
    logins = {role: f"{role.lower()}:first-password-of-{role}" for role in ("READER", "GATE", "TRAINER", "PROMOTER")}

    def may(path: str, **body: object) -> set[str]:
        """Return the roles that a request is granted to."""
        url = f"{mlflow}/api/2.0/mlflow/{path}"
        answers = {role: ask(url, login, body=body) for role, login in logins.items()}
        assert set(answers.values()) <= {200, 403}, answers
        return {role for role, answer in answers.items() if answer == 200}

    # Trainer and promoter change this model, and no other.
    administrator.create_registered_model("another")
    alias = {"alias": "champion", "version": "1"}
    assert may("registered-models/alias", name=MODEL_NAME, **alias) == {"TRAINER", "PROMOTER"}
    assert may("registered-models/alias", name="another", **alias) == set()
    for name, writers in (
        (Settings().experiment, {"TRAINER", "PROMOTER"}),
        (f"{MODEL_NAME}-retraining", {"TRAINER"}),
        (f"{MODEL_NAME}-reference-sets", set()),
    ):
        experiment = administrator.get_experiment_by_name(name)
        assert experiment
        assert may("runs/create", experiment_id=experiment.experiment_id, start_time=1) == writers, name
    # Others take no name that somebody trusts, and send nothing elsewhere.
    for path in ("experiments/create", "registered-models/create"):
        assert may(path, name="mine") == set()
    webhook = {"entity": "RUN", "action": "CREATED"}
    assert may("webhooks", name="mine", url="https://example.org", events=[webhook]) == set()
    for login in logins.values():
        log_in(login, monkeypatch)
        assert registry.champion() == "1"
        assert pipelines.list_reference_sets() == []


def test_users_of_mlflow_train_promote_and_fetch_by_their_roles(
    mlflow: str, administrator: MlflowClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By MLflow's own client, for artifacts have rights of their own; it prints nothing beside a command's answer."""
    import seed

    for role in ("READER", "GATE", "TRAINER", "PROMOTER"):
        monkeypatch.setenv(f"{role}_USERNAME", role.lower())
        monkeypatch.setenv(f"{role}_PASSWORD", f"first-password-of-{role}")
    set_champion(administrator)
    seed.main()
    log_in("trainer:first-password-of-TRAINER", monkeypatch)
    capfd.readouterr()
    with runs.run(name="a training") as log:
        log.model(pretrained.model_folder("pretrained-fast"), "Lovely soup.")
    assert registry.register(log.run_id) == "2"
    assert capfd.readouterr().out == ""
    log_in("reader:first-password-of-READER", monkeypatch)
    assert registry.fetch(f"models:/{MODEL_NAME}/2")[1] == "2"
    with pytest.raises(TrackingError, match="403"):
        registry.set_champion("2", {})
    log_in("promoter:first-password-of-PROMOTER", monkeypatch)
    registry.set_champion("2", {})
    assert registry.champion() == "2"


@needs_schemas
def test_certificates_inside_the_cluster_are_what_their_issuer_takes() -> None:
    documents = internal()
    for manifest in documents:
        validate(manifest)
    issuers = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "ClusterIssuer"}
    made = {d["spec"]["secretName"]: d["metadata"]["namespace"] for d in documents if d["kind"] == "Certificate"}
    assert {d["spec"]["issuerRef"]["name"] for d in documents if d["kind"] == "Certificate"} == set(issuers)
    assert made[issuers["internal"]["ca"]["secretName"]] == "cert-manager"


def test_mlflow_speaks_tls_and_every_client_trusts_its_certificate(tmp_path: Path) -> None:
    releases = helmfile("gke", tmp_path)["releases"]
    server = values_of(named(releases, "mlflow"))
    certified = certificate("mlflow", "mlflow-tls")
    (volume,) = server["extraVolumes"]
    assert volume["secret"]["secretName"] == certified["secretName"]
    assert server["service"]["port"] == 443
    # It answers to every name that it has a certificate for.
    assert set(certified["dnsNames"]) <= set(server["serverAllowedHosts"])
    # Clients by their addresses; each has a Secret with the authority in its namespace.
    jenkins = yaml.safe_load((DEPLOY / "services/jenkins/values.yaml").read_text(encoding="utf-8"))
    ray = (DEPLOY / "ray" / "rayjob.yaml").read_text(encoding="utf-8")
    chart = rendered("reviews-parsing", "gke", {"retrain": {"enabled": True, "options": ["--every", "30d"]}})
    retrain = one(chart, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    head = yaml.safe_load(ray)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    for name, pod in (
        ("reviews-parsing", {**predictor(chart), "containers": [container(chart)]}),
        ("reviews-parsing", retrain),
        ("reviews-parsing", head),
    ):
        (spec,) = pod["containers"]
        variables = {e["name"]: e.get("value", "") for e in spec["env"]}
        assert variables["MLFLOW_TRACKING_URI"].removeprefix("https://") in certified["dnsNames"]
        (mount,) = (m for m in spec["volumeMounts"] if m["name"] == "mlflow-ca")
        assert variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] == f"{mount['mountPath']}/ca.crt"
        (secret,) = (v["secret"] for v in pod["volumes"] if v["name"] == "mlflow-ca")
        assert secret["secretName"] == certificate(name, "mlflow-ca")["secretName"]
        assert [item["key"] for item in secret["items"]] == ["ca.crt"], "no key is mounted"
    assert jenkins["mlflowUrl"].removeprefix("https://") in certified["dnsNames"]
    assert jenkins["mlflowCaSecret"] == certificate("jenkins-agents", "mlflow-ca")["secretName"]
    script = scripts()
    assert "MLFLOW_TRACKING_URI=https://127.0.0.1:$PORT" in script
    assert certified["ipAddresses"] == ["127.0.0.1"]
    assert f"field mlflow {certified['secretName']} ca.crt >" in script
    # The gateway.
    door = rendered("ingress", "gke")
    tls = one(door, "DestinationRule")["spec"]["trafficPolicy"]["tls"]
    assert tls["sni"] in certified["dnsNames"]
    deployment = yaml.safe_load(one(door, "ConfigMap")["data"]["deployment"])["spec"]["template"]["spec"]
    (mount,) = (
        m for m in deployment["containers"][0]["volumeMounts"] if tls["caCertificates"].startswith(m["mountPath"])
    )
    (secret,) = (v["secret"] for v in deployment["volumes"] if v["name"] == mount["name"])
    assert secret["secretName"] == certificate("istio-ingress", "mlflow-ca")["secretName"]
    (backend,) = one(door, "HTTPRoute", "mlflow")["spec"]["rules"][-1]["backendRefs"]
    assert backend["port"] == server["service"]["port"]


def test_the_probes_of_mlflow_ask_over_tls(tmp_path: Path) -> None:
    """The probe as the template of chart 1.11.5 writes it, read by Helm's own YAML library."""
    releases = helmfile("kind", tmp_path)["releases"]
    assert named(releases, "mlflow")["version"] == "1.11.5", "does the chart have a scheme now?"
    (tmp_path / "chart" / "templates").mkdir(parents=True)
    (tmp_path / "chart" / "Chart.yaml").write_text("{apiVersion: v2, name: probe, version: 0.1.0}")
    (tmp_path / "chart" / "templates" / "probe.yaml").write_text(
        """{{- define "probe" }}
          readinessProbe:
            httpGet:
              path: /health
              port: mlflow
          {{- with .Values.readinessProbe }}
            {{- toYaml . | nindent 12 }}
          {{- end }}
        {{- end }}
        {{- include "probe" . | fromYaml | toYaml }}"""
    )
    with helm_python.Chart.load(str(tmp_path / "chart")) as chart:
        (text,) = chart.render(values_of(named(releases, "mlflow")), name="probe", namespace="default").values()
    probe = yaml.safe_load(text)["readinessProbe"]
    assert probe == {"httpGet": {"path": "/health", "port": "mlflow", "scheme": "HTTPS"}}


@pytest.mark.parametrize(("cluster", "days"), [("kind", range(30, 60)), ("gke", range(5, 8))])
def test_mlflow_reads_a_renewed_certificate_long_before_the_former_ends(
    cluster: str, days: range, tmp_path: Path
) -> None:
    """Probes alone bring every worker to its last request in time: chart mlflow 1.11.5 has two, each every 30 s."""
    values = values_of(named(helmfile(cluster, tmp_path)["releases"], "mlflow"))
    assert "periodSeconds" not in {**values["livenessProbe"], **values["readinessProbe"]}
    requests = int(values["extraEnvVars"]["UVICORN_LIMIT_MAX_REQUESTS"]) * int(values["extraArgs"]["workers"])
    assert requests // (2 * 2 * 60 * 24) in days
    assert int(certificate("mlflow", "mlflow-tls")["renewBefore"].removesuffix("h")) > 24 * days.stop


@pytest.mark.parametrize("cluster", ["kind", "gke"])
def test_mlflow_ends_to_read_a_renewed_certificate(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several workers each is replaced; an only one ends the container, which the kubelet starts again."""
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "ca.crt"))
    values = values_of(named(helmfile(cluster, tmp_path)["releases"], "mlflow"))
    values["extraEnvVars"]["UVICORN_LIMIT_MAX_REQUESTS"] = "20"
    with mlflow_server(tmp_path, values) as (address, server):
        (former := tmp_path / "former.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
        issue(tmp_path, certificate("mlflow", "mlflow-tls"))
        deadline = time.monotonic() + PATIENCE
        while server.poll() is None and ask(f"{address}/health") != 200:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(former))
            ask(f"{address}/health")
            monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "ca.crt"))
        assert server.poll() == (0 if cluster == "kind" else None), (tmp_path / "log").read_text()


def test_a_server_without_tls_needs_no_authority() -> None:
    for mlflow in ({"uri": "http://mlflow.example.com"}, {"uri": "https://mlflow.example.com", "caSecret": ""}):
        text = yaml.safe_dump_all(rendered("reviews-parsing", "gke", {"mlflow": mlflow}))
        assert "mlflow-ca" not in text
        assert "SERVER_CERT_PATH" not in text

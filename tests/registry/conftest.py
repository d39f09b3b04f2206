"""A real tracking server: MLflow on PostgreSQL, artifacts on an S3 server, all on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port

from .servers import answers, until


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the SQLAlchemy address of a new PostgreSQL server."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    bin_folder = binaries[-1] if binaries else Path(shutil.which("pg_ctl") or "pg_ctl").parent
    folder = tmp_path_factory.mktemp("postgres")
    port = free_port()
    user: dict[str, object] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; its package brings a user that may.
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = str(folder / "data")

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)  # type: ignore[call-overload]

    run(str(bin_folder / "initdb"), "-D", data, "-U", "mlflow", "--auth=trust", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [str(bin_folder / "pg_ctl"), "-D", data, "-w"]
    run(*control, "-o", options, "-l", str(folder / "log"), "start")
    yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    run(*control, "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the environment for an S3 server with a bucket `mlflow`."""
    port = free_port()
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{address}/moto-api/"), "the S3 server")
    urllib.request.urlopen(urllib.request.Request(f"{address}/mlflow", method="PUT")).close()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    yield {"MLFLOW_S3_ENDPOINT_URL": address, **keys}
    server.terminate()
    server.wait(10)
    log.close()


OBJECT_STORE = "object-store"
RESOLVE = f"""
import socket

resolve = socket.getaddrinfo


def getaddrinfo(host, *arguments, **options):
    local = host in ({OBJECT_STORE!r}, {OBJECT_STORE.encode()!r})
    return resolve("127.0.0.1" if local else host, *arguments, **options)


socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture(scope="session")
def mlflow_server(postgres: str, s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own server on both; yields its address. It alone can resolve the name of the object store."""
    port = free_port()
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "sitecustomize.py").write_text(RESOLVE)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    inside = {
        **s3,
        "MLFLOW_S3_ENDPOINT_URL": s3["MLFLOW_S3_ENDPOINT_URL"].replace("127.0.0.1", OBJECT_STORE),
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    log = folder / "log"
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", postgres, "--artifacts-destination", "s3://mlflow/artifacts", "--serve-artifacts"]
    with log.open("wb") as target:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, *stores],
            stdout=target,
            stderr=target,
            env={**os.environ, **inside},
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{address}/health"), "the MLflow server")
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)

"""Configuration: environment variables, read at each use."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from reviews_parsing.errors import ModelError

MODEL_NAME = "reviews-parsing-ner-aspects"
CHAMPION = "champion"
# Forms of `model_control`. macOS has the shortest limit of a socket's path.
SOCKET, MAX_SOCKET_PATH, MIN_TOKEN = "unix:", 103, 16


def _default_home() -> Path:
    """Return `.reviews-parsing` in the project around the working directory, else the user's data folder."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "reviews-parsing"' in project.read_text(encoding="utf-8"):
            return folder / ".reviews-parsing"
    from platformdirs import user_data_path

    return user_data_path("reviews-parsing")


def split(value: str) -> list[str]:
    """Return the items of a setting that is a list separated by commas."""
    return list(filter(None, map(str.strip, value.split(","))))


class Settings(BaseSettings):
    """All settings with their variables and defaults."""

    model_config = SettingsConfigDict(env_prefix="REVIEWS_PARSING_", protected_namespaces=(), populate_by_name=True)

    home: Path = Field(default_factory=_default_home, description="folder of the local registry and of fetched models")
    tracking_uri: str | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_URI", description="MLflow server; unset: SQLite under `home`"
    )
    experiment: str = Field(
        default=MODEL_NAME, validation_alias="MLFLOW_EXPERIMENT_NAME", description="MLflow experiment of training runs"
    )
    model_name: str = Field(default=MODEL_NAME, description="name of the registered model")
    model_uri: str | None = Field(default=None, description="model that the server serves; unset: the champion")
    fetch_timeout: float = Field(
        default=300,
        gt=0,
        description="time limit for fetching a model or a file of a run, and for resolving an alias, in seconds",
    )
    start_seconds: float = Field(
        default=0,
        ge=0,
        description="how long a starting server waits for an MLflow server that cannot be reached, and fetches",
    )
    max_model_mb: int = Field(
        default=2000, ge=1, description="maximum size of a model that is fetched, in megabytes (10^6 bytes)"
    )
    trust: Path | None = Field(
        default=None,
        description="public keys, certificates or keyless identity that models must be signed by; unset: any model",
    )
    signing_key: str | None = Field(
        default=None, description="private key that registered models are signed with, or `keyless`; unset: unsigned"
    )
    signing_password: SecretStr | None = Field(default=None, description="password of that key")
    signing_certificate: Path | None = Field(
        default=None, description="certificate of that key, followed by its chain, for a policy of certificates"
    )
    approval: bool = Field(default=False, description="`retrain` waits for a person's approval before it promotes")
    threads: int | None = Field(default=None, ge=1, description="threads for parsing; unset: one per core")
    max_texts: int = Field(default=4096, ge=1, description="maximum texts in a request to the server; beyond: 413")
    engine: Literal["onnxruntime", "openvino", "auto"] = Field(
        default="onnxruntime", description="inference engine; auto: the faster one of those installed"
    )
    max_characters: int = Field(
        default=500_000, ge=1, description="maximum characters in a request to the server; beyond: 413"
    )
    max_wait: float = Field(
        default=0.5, ge=0, description="maximum queueing time of a request to the server, in seconds; beyond: 503"
    )

    jaeger_url: str | None = Field(
        default=None,
        validation_alias="JAEGER_URL",
        description="host or URL of a trace collector (OTLP over gRPC), where OTEL_EXPORTER_OTLP_ENDPOINT is unset",
    )

    drain_seconds: float = Field(
        default=60, ge=0, description="time limit for requests in progress when the server stops, in seconds"
    )
    drain_pause_seconds: float = Field(
        default=5,
        ge=0,
        description="how long it first answers on open connections, asking clients to close them",
    )
    max_connections: int = Field(default=768, ge=1, description="maximum number of REST connections")
    max_bytes_in_flight: int = Field(
        default=256_000_000, ge=1, description="maximum size of all request bodies in memory together; beyond: 503"
    )
    max_header_bytes: int = Field(default=32_768, ge=1024, description="maximum size of request headers; beyond: 431")
    max_pipelined: int = Field(
        default=16,
        ge=1,
        description="maximum requests that a REST connection sends ahead of answers; beyond: the connection is closed",
    )
    header_seconds: float = Field(
        default=10, gt=0, description="maximum time for the headers of a request; beyond: the connection is closed"
    )
    body_seconds: float = Field(default=30, gt=0, description="maximum time for the body of a request; beyond: 408")
    idle_seconds: float = Field(
        default=3900,
        gt=0,
        description="maximum time between two requests of a REST connection, longer than gateways keep idle ones "
        "(Envoy: an hour), because a request that meets the close fails",
    )
    refusals_per_second: float = Field(
        default=500,
        gt=0,
        description="refused and shed requests per second that are answered at once, divided among addresses; "
        "others are answered later, up to 10 s (shed: 1 s)",
    )
    model_control: SecretStr | None = Field(
        default=None,
        description="token that clients must send to load, unload and list models, or unix:/PATH of a local socket for "
        "that; unset: off",
    )
    allowed_hosts: str = Field(
        default="",
        description="host names, separated by commas, under which models may be managed; always: localhost, addresses",
    )
    allowed_origins: str = Field(
        default="",
        description="origins, separated by commas, whose pages may send requests, beside the server's own",
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, separated by commas, of proxies whose X-Forwarded-For names the client",
    )
    max_grpc_answer_bytes: int = Field(
        default=4 * 1024 * 1024 - 4096,
        ge=1,
        description="maximum size of an answer over gRPC; clients accept 4 MiB by default",
    )

    traffic: Path | None = Field(
        default=None, description="folder for numbers, and no texts, of a sample of the requests"
    )
    traffic_rows: int = Field(default=100, ge=1, description="maximum reviews per minute in that sample")
    traffic_files: int = Field(default=2016, ge=1, description="maximum files in that folder; the oldest are deleted")

    comparison: Path | None = Field(
        default=None, description="file that names another version to compare with; `rollout compare` writes it"
    )

    server_url: str = Field(default="http://127.0.0.1:8080", description="V2 server behind the page")
    compare_url: str | None = Field(
        default=None, description="second V2 server, such as a canary, whose answers the page shows beside"
    )
    max_upload_mb: int = Field(
        default=200, ge=1, description="maximum size of a file on the page, in megabytes (10^6 bytes)"
    )
    file_memory_mb: int = Field(
        default=2048, ge=256, description="memory limit of the process that reads an uploaded file, in megabytes"
    )
    file_seconds: int = Field(default=3600, ge=1, description="time limit for parsing an uploaded file, in seconds")
    file_cpu_seconds: int = Field(
        default=900, ge=1, description="processor time limit for parsing an uploaded file, in seconds"
    )
    page_storage_mb: int = Field(
        default=10_000, ge=1, description="disk space for uploaded files and results of the page, in megabytes"
    )
    page_requests_per_minute: int = Field(
        default=300, ge=1, description="requests per minute that the page takes from one address, beside loading pages"
    )
    page_hosts: str = Field(
        default="", description="host names by which browsers may reach the page, separated by commas"
    )

    service: str = Field(default=MODEL_NAME, description="InferenceService that a rollout changes")
    namespace: str = Field(default="reviews-parsing", description="Kubernetes namespace of that InferenceService")
    kubeconfig: Path | None = Field(
        default=None,
        validation_alias="KUBECONFIG",
        description="access to the cluster; unset: the pod's service account, else ~/.kube/config",
    )
    prometheus_url: str | None = Field(
        default=None,
        validation_alias="PROMETHEUS_URL",
        description="Prometheus that scrapes the cluster's pods; `rollout --auto` queries it",
    )

    def name_for(self, domain: str | None) -> str:
        """Return the registered model of a domain, or the configured one. Raises ModelError if it is invalid."""
        if domain is None:
            return self.model_name
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", domain):
            raise ModelError(f"{domain!r} is no name of a domain; use lower-case letters, digits and hyphens")
        return f"{self.model_name}-{domain}"

    @field_validator("model_control", "trust", "signing_key", "signing_password", "signing_certificate", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None

    @field_validator("model_control")
    @classmethod
    def _check_control(cls, value: SecretStr | None) -> SecretStr | None:
        control = value.get_secret_value() if value else ""
        if control.startswith(SOCKET):
            path = control.removeprefix(SOCKET)
            if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH:
                raise ValueError(f"a socket is {SOCKET} and an absolute path of at most {MAX_SOCKET_PATH} bytes")
        elif value and len(control) < MIN_TOKEN:
            raise ValueError(f"a token has at least {MIN_TOKEN} characters, a socket is {SOCKET} and a path")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for network in split(value):
            ip_network(network)
        return value

    @property
    def control_token(self) -> str | None:
        """The token in `model_control`; None if unset or a socket."""
        control = self.model_control.get_secret_value() if self.model_control else SOCKET
        return None if control.startswith(SOCKET) else control

    @property
    def control_socket(self) -> Path | None:
        """The path of the socket in `model_control`; None if unset or a token."""
        control = self.model_control.get_secret_value() if self.model_control else ""
        return Path(control.removeprefix(SOCKET)) if control.startswith(SOCKET) else None

    @property
    def champion_uri(self) -> str:
        """The URI of the champion of the configured model."""
        return f"models:/{self.model_name}@{CHAMPION}"

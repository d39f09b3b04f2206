"""Configuration: environment variables, read when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MODEL_NAME = "reviews-parsing-ner-aspects"
CHAMPION = "champion"


def _default_home() -> Path:
    """`.reviews-parsing` beside the project where one is around the working directory, else the user's data folder."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "reviews-parsing"' in project.read_text(encoding="utf-8"):
            return folder / ".reviews-parsing"
    from platformdirs import user_data_path

    return user_data_path("reviews-parsing")


class Settings(BaseSettings):
    """Every setting, its variable and its default."""

    model_config = SettingsConfigDict(env_prefix="REVIEWS_PARSING_", protected_namespaces=(), populate_by_name=True)

    home: Path = Field(default_factory=_default_home, description="folder of the local registry and of fetched models")
    tracking_uri: str | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_URI", description="MLflow server; unset: SQLite under `home`"
    )
    experiment: str = Field(
        default=MODEL_NAME, validation_alias="MLFLOW_EXPERIMENT_NAME", description="MLflow experiment of training runs"
    )
    model_name: str = Field(default=MODEL_NAME, description="name of the registered model")
    model_uri: str | None = Field(default=None, description="what the server serves; unset: the champion")
    threads: int | None = Field(default=None, ge=1, description="threads for parsing; unset: one for each core")
    max_texts: int = Field(
        default=4096, ge=1, description="most texts that a request to the server may hold; beyond: 413"
    )
    engine: Literal["onnxruntime", "openvino", "auto"] = Field(
        default="onnxruntime", description="what runs the model; auto: whichever of those installed is faster here"
    )
    max_characters: int = Field(
        default=500_000, ge=1, description="most characters that a request to the server may hold; beyond: 413"
    )
    max_wait: float = Field(
        default=0.5, ge=0, description="longest that a request to the server may have to wait, in seconds; beyond: 503"
    )

    jaeger_url: str | None = Field(
        default=None,
        validation_alias="JAEGER_URL",
        description="host or URL of a collector of traces (OTLP over gRPC), where OTEL_EXPORTER_OTLP_ENDPOINT is unset",
    )

    drain_seconds: float = Field(
        default=60, ge=0, description="how long the server, told to end, goes on with requests under way"
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
    header_seconds: float = Field(
        default=10, gt=0, description="maximum time for the headers of a request; beyond: the connection is closed"
    )
    body_seconds: float = Field(default=30, gt=0, description="maximum time for the body of a request; beyond: 408")
    model_control: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="token that clients must send to load, unload and list models; unset: nobody may",
    )
    allowed_hosts: str = Field(
        default="",
        description="host names, separated by commas, under which models may be managed; always: localhost, addresses",
    )
    allowed_origins: str = Field(
        default="",
        description="origins, separated by commas, whose pages may send requests, beside the server's own",
    )
    max_grpc_answer_bytes: int = Field(
        default=4 * 1024 * 1024 - 4096,
        ge=1,
        description="maximum size of an answer over gRPC; clients accept 4 MiB by default",
    )

    traffic: Path | None = Field(
        default=None,
        description="folder for numbers, and no texts, of a sample of what the server sees",
    )
    traffic_rows: int = Field(default=100, ge=1, description="most reviews a minute that are in that sample")
    traffic_files: int = Field(default=2016, ge=1, description="most files in that folder; the oldest go")

    server_url: str = Field(default="http://127.0.0.1:8080", description="V2 server that the page asks")
    compare_url: str | None = Field(
        default=None, description="a second V2 server, such as a canary, whose answers the page shows beside"
    )
    max_upload_mb: int = Field(
        default=200, ge=1, description="largest file that the page takes, in megabytes (10^6 bytes)"
    )

    service: str = Field(default=MODEL_NAME, description="InferenceService that a rollout changes")
    namespace: str = Field(default="reviews-parsing", description="Kubernetes namespace of that InferenceService")
    kubeconfig: Path | None = Field(
        default=None,
        validation_alias="KUBECONFIG",
        description="how the cluster is reached; unset: the pod's service account, else ~/.kube/config",
    )
    prometheus_url: str | None = Field(
        default=None,
        validation_alias="PROMETHEUS_URL",
        description="Prometheus that knows the cluster's pods; `rollout --auto` asks it",
    )

    @field_validator("model_control", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None

    @property
    def champion_uri(self) -> str:
        return f"models:/{self.model_name}@{CHAMPION}"

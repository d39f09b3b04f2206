"""One InferenceService of one cluster: read, applied to, its Deployments. The client's errors leave here as ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reviews_parsing.errors import ClusterError
from reviews_parsing.rollout.plan import VARIABLE
from reviews_parsing.rollout.route import SUFFIX
from reviews_parsing.settings import Settings

MANAGER = "reviews-parsing-rollout"
STANDARD = ("Standard", "RawDeployment")
MODE = "serving.kserve.io/deploymentMode"


class Changed(Exception):
    """The object is not any more what was read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a Deployment is with what it shall serve; `failed` says why it has given up."""

    rolled: bool
    ready: bool
    failed: str | None
    words: str


class Service:
    """The InferenceService `name` in `namespace` of the cluster that `context` of the kubeconfig names.

    Without `context`: the file that KUBECONFIG names, else the pod's service account, else ~/.kube/config.
    Raises ClusterError, here and in each method.
    """

    def __init__(self, name: str, namespace: str, context: str | None = None) -> None:
        try:
            import lightkube
            import yaml  # type: ignore[import-untyped]
            from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG
            from lightkube.generic_resource import create_namespaced_resource
        except ImportError as error:
            raise ClusterError("rollout needs the Kubernetes client: pip install 'reviews-parsing[k8s]'") from error
        self.name, self.namespace = name, namespace
        self._kind: Any = create_namespaced_resource(
            "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"
        )
        self._route: Any = create_namespaced_resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
        file = Settings().kubeconfig
        try:
            if context or file:
                config = lightkube.KubeConfig.from_file(file or DEFAULT_KUBECONFIG)
            else:
                config = lightkube.KubeConfig.from_env()
            self._client = lightkube.Client(config.get(context), namespace=namespace, field_manager=MANAGER)
        except (lightkube.ConfigError, yaml.YAMLError, OSError, KeyError, TypeError, ValueError) as error:
            raise ClusterError(f"no cluster: {_line(error)}; set KUBECONFIG, or name one with --context") from error
        self._server = self._client.config.cluster.server

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def words(self) -> str:
        return f"{self.namespace}/{self.name}"

    def read(self) -> dict[str, Any]:
        """The object. Refused are those whose shape a rollout cannot work with."""
        with self._errors("read"):
            found: dict[str, Any] = dict(self._client.get(self._kind, self.name))
        mode = (found["metadata"].get("annotations") or {}).get(MODE)
        if mode not in STANDARD:
            raise ClusterError(f"{self.words} is not in Standard mode ({MODE}: {mode}); only there KServe has canaries")
        if not found["spec"]["predictor"].get("model"):
            raise ClusterError(f"{self.words} has no spec.predictor.model: KServe takes canaries of such services only")
        return found

    def apply(self, spec: Mapping[str, Any], resource_version: str, force: bool) -> dict[str, Any]:
        """Server-side apply of what we manage. Raises Changed where `resource_version` is not the newest."""
        metadata = {"name": self.name, "namespace": self.namespace, "resourceVersion": resource_version}
        body = self._kind({"metadata": metadata, "spec": spec})
        with self._errors("change"):
            return dict(self._client.apply(body, force=force))

    def read_route(self) -> dict[str, Any] | None:
        """Return the HTTPRoute of the service's host: the chart's, else KServe's own, None if there is neither."""
        from lightkube import ApiError

        for name in (f"{self.name}{SUFFIX}", self.name):
            with self._errors("read the HTTPRoute of"):
                try:
                    return dict(self._client.get(self._route, name))
                except ApiError as error:
                    if error.status.code != 404:
                        raise
        return None

    def apply_route(self, rules: list[dict[str, Any]], resource_version: str, force: bool) -> dict[str, Any]:
        """Apply the rules of the chart's HTTPRoute. Raises Changed if `resource_version` is not the newest."""
        metadata = {"name": f"{self.name}{SUFFIX}", "namespace": self.namespace, "resourceVersion": resource_version}
        body = self._route({"metadata": metadata, "spec": {"rules": rules}})
        with self._errors("change the HTTPRoute of"):
            return dict(self._client.apply(body, force=force))

    def predictor(self, name: str | None) -> str:
        """Return the name of the Deployment and the Service of a predictor."""
        return f"{self.name}-{name}-predictor" if name else f"{self.name}-predictor"

    def progress(self, predictor: str | None, uri: str | None) -> Progress:
        """How far the Deployment of a predictor is with serving `uri`; the champion's has no name, as a rule."""
        from lightkube import ApiError
        from lightkube.resources.apps_v1 import Deployment

        name = self.predictor(predictor)
        with self._errors("read deployments of"):
            try:
                found = self._client.get(Deployment, name).to_dict()
            except ApiError as error:
                if error.status.code != 404:
                    raise
                return Progress(False, False, None, f"no deployment {name} yet")
        return progress_of(found, uri)

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        import httpx2
        import lightkube

        try:
            yield
        except lightkube.ApiError as error:
            raise self._ours(error.status, verb) from error
        except httpx2.HTTPStatusError as error:
            raise ClusterError(f"{self._server} answers {error.response.status_code}; is it a cluster?") from error
        except (lightkube.ConfigError, FileNotFoundError) as error:  # what the kubeconfig wants to be run for a token
            raise ClusterError(f"no way into the cluster: {_line(error)}") from error
        except (httpx2.HTTPError, OSError) as error:
            raise ClusterError(f"the cluster at {self._server} does not answer ({_line(error)})") from error

    def _ours(self, status: Any, verb: str) -> Exception:
        said = " ".join(str(status.message or status.reason).split())
        causes = (status.details.causes if status.details else None) or []
        owned = [cause for cause in causes if cause.reason == "FieldManagerConflict"]
        if owned:
            fields = ", ".join(dict.fromkeys(f"{cause.field} ({cause.message})" for cause in owned))
            return ClusterError(
                f"{self.words}: others manage what the rollout writes: {fields}; "
                "take it out of where they set it (chart: model.version), or take it over with --force"
            )
        if status.code == 409:
            return Changed(said)
        unknown = status.code == 404 and not (status.details and status.details.name)
        meaning = {
            401: f"the cluster at {self._server} does not know you (401: {said}); log in anew",
            403: f"you may not {verb} {self.words} (403: {said}); ask for that right",
            404: f"the cluster at {self._server} has no KServe (404: {said}); install it first"
            if unknown
            else f"there is no InferenceService {self.words}; install the chart, or name another",
        }
        return ClusterError(
            meaning.get(status.code, f"the cluster refuses to {verb} {self.words} ({status.code}: {said})")
        )


def progress_of(deployment: Mapping[str, Any], uri: str | None) -> Progress:
    """What `kubectl rollout status` looks at, for the template that serves `uri`."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    served = [
        one.get("value")
        for container in spec["template"]["spec"]["containers"]
        for one in container.get("env") or []
        if one["name"] == VARIABLE
    ]
    wanted = spec.get("replicas", 1)
    updated, available = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
    seen = (status.get("observedGeneration") or 0) >= deployment["metadata"].get("generation", 0)
    if served != ([uri] if uri else []) or not seen:
        return Progress(False, False, None, "the controllers have not taken it yet")
    rolled = (status.get("replicas") or 0) <= updated
    stuck = (
        one.get("message") or one.get("reason")
        for one in status.get("conditions") or []
        if one["type"] == "Progressing" and one["status"] == "False"
    )
    here = min(updated, available) if rolled else updated
    words = f"{here} of {wanted} pods {'ready' if rolled else 'new'}"
    return Progress(rolled, rolled and 0 < wanted <= here, next(stuck, None), words)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__

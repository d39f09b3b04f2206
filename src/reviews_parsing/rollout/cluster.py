"""Client of one InferenceService and its Deployments: read, apply, progress. Kubernetes errors become ClusterError."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from reviews_parsing.errors import ClusterError
from reviews_parsing.rollout.plan import MODEL_URI_VARIABLE
from reviews_parsing.rollout.route import ROUTE_SUFFIX
from reviews_parsing.settings import Settings

FIELD_MANAGER = "reviews-parsing-rollout"
COMPARISON_SUFFIX = "-comparison"
STANDARD_MODES = ("Standard", "RawDeployment")
MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
MAX_REASON_CHARACTERS = 300


class ObjectModified(Exception):
    """The object was modified since it was read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a Deployment: template rolled out, pods ready, reason if it failed, and a text for people."""

    rolled: bool
    ready: bool
    failed: str | None
    words: str


class Service:
    """The InferenceService `name` in `namespace` of the cluster that `context` of the kubeconfig names.

    Without `context`: the file in KUBECONFIG, else the pod's service account, else ~/.kube/config. The constructor and
    every method raise ClusterError.
    """

    def __init__(self, name: str, namespace: str, context: str | None = None) -> None:
        try:
            import lightkube
            import yaml
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
            self._client = lightkube.Client(config.get(context), namespace=namespace, field_manager=FIELD_MANAGER)
        except (lightkube.ConfigError, yaml.YAMLError, OSError, KeyError, TypeError, ValueError) as error:
            raise ClusterError(f"no cluster: {_line(error)}; set KUBECONFIG, or name one with --context") from error
        self._server = self._client.config.cluster.server

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def words(self) -> str:
        """Namespace and name, for messages."""
        return f"{self.namespace}/{self.name}"

    def read(self) -> dict[str, Any]:
        """Return the object; a service without canaries in its mode or of another shape is refused."""
        with self._translated_errors("read"):
            service: dict[str, Any] = dict(self._client.get(self._kind, self.name))
        mode = (service["metadata"].get("annotations") or {}).get(MODE_ANNOTATION)
        if mode not in STANDARD_MODES:
            raise ClusterError(
                f"{self.words} is not in Standard mode ({MODE_ANNOTATION}: {mode}), the only one with canaries"
            )
        if not service["spec"]["predictor"].get("model"):
            raise ClusterError(f"{self.words} has no spec.predictor.model: KServe takes canaries of such services only")
        return service

    def apply(self, spec: Mapping[str, Any], resource_version: str, force: bool) -> dict[str, Any]:
        """Apply the managed fields on the server side. Raises ObjectModified if `resource_version` is outdated."""
        metadata = {"name": self.name, "namespace": self.namespace, "resourceVersion": resource_version}
        body = self._kind({"metadata": metadata, "spec": spec})
        with self._translated_errors("change"):
            return dict(self._client.apply(body, force=force))

    def read_route(self) -> dict[str, Any] | None:
        """Return the HTTPRoute of the service's host: the chart's, else KServe's own, None if there is neither.

        The rights of a pipeline are for the chart's: without it, KServe's own may be one that cannot be read.
        """
        route = self._find(self._route, f"{self.name}{ROUTE_SUFFIX}", "read the HTTPRoute of")
        if route is None:
            route = self._find(self._route, self.name, "read the HTTPRoute of", absent=(404, 403))
        return None if route is None else dict(route)

    def apply_route(self, rules: list[dict[str, Any]], resource_version: str, force: bool) -> dict[str, Any]:
        """Apply the rules of the chart's HTTPRoute. Raises ObjectModified if `resource_version` is outdated."""
        name = f"{self.name}{ROUTE_SUFFIX}"
        metadata = {"name": name, "namespace": self.namespace, "resourceVersion": resource_version}
        body = self._route({"metadata": metadata, "spec": {"rules": rules}})
        with self._translated_errors("change the HTTPRoute of"):
            return dict(self._client.apply(body, force=force))

    def read_comparison(self) -> dict[str, str] | None:
        """Return the data of the chart's ConfigMap for comparisons, None if it does not exist."""
        from lightkube.resources.core_v1 import ConfigMap

        found = self._find(ConfigMap, f"{self.name}{COMPARISON_SUFFIX}", "read the comparison of")
        return None if found is None else dict(found.data or {})

    def apply_comparison(self, data: Mapping[str, str]) -> None:
        """Apply the data of the ConfigMap for comparisons."""
        from lightkube.models.meta_v1 import ObjectMeta
        from lightkube.resources.core_v1 import ConfigMap

        metadata = ObjectMeta(name=f"{self.name}{COMPARISON_SUFFIX}", namespace=self.namespace)
        with self._translated_errors("change the comparison of"):
            self._client.apply(ConfigMap(metadata=metadata, data=dict(data)))

    def predictor_name(self, name: str | None) -> str:
        """Return the name of the Deployment and the Service of a predictor; the champion's predictor may have none."""
        return f"{self.name}-{name}-predictor" if name else f"{self.name}-predictor"

    def predictor_url(self, name: str | None) -> str:
        """Return the address of a predictor's Service inside the cluster."""
        return f"http://{self.predictor_name(name)}.{self.namespace}.svc"

    def progress(self, predictor: str | None, uri: str | None, image: str | None = None) -> Progress:
        """Return the progress of a predictor's Deployment towards `uri` and, if given, `image`."""
        deployment = self._deployment(predictor)
        if deployment is None:
            return Progress(False, False, None, f"no deployment {self.predictor_name(predictor)} yet")
        return deployment_progress(deployment, uri, image)

    def image(self, predictor: str | None) -> str | None:
        """Return the image that a predictor's Deployment runs, None if there is no Deployment."""
        deployment = self._deployment(predictor)
        return deployment["spec"]["template"]["spec"]["containers"][0].get("image") if deployment else None

    def _deployment(self, predictor: str | None) -> dict[str, Any] | None:
        from lightkube.resources.apps_v1 import Deployment

        deployment = self._find(Deployment, self.predictor_name(predictor), "read deployments of")
        return None if deployment is None else dict(deployment.to_dict())

    def _find(self, kind: Any, name: str, verb: str, absent: tuple[int, ...] = (404,)) -> Any:
        """Return an object of the namespace, None if it or its kind does not exist: a status in `absent`."""
        import httpx2

        with self._translated_errors(verb):
            try:
                return self._client.get(kind, name)
            except httpx2.HTTPStatusError as error:  # of an unknown API group in plain text, else ApiError, a subclass
                if error.response.status_code not in absent:
                    raise
        return None

    @contextmanager
    def _translated_errors(self, verb: str) -> Iterator[None]:
        import httpx2
        import lightkube

        try:
            yield
        except lightkube.ApiError as error:
            raise self._translate(error.status, verb) from error
        except httpx2.HTTPStatusError as error:
            raise ClusterError(f"{self._server} answers {error.response.status_code}; is it a cluster?") from error
        except (lightkube.ConfigError, FileNotFoundError) as error:  # a credential plugin of the kubeconfig
            raise ClusterError(f"no access to the cluster: {_line(error)}") from error
        except (httpx2.HTTPError, OSError) as error:
            raise ClusterError(f"the cluster at {self._server} does not answer ({_line(error)})") from error

    def _translate(self, status: Any, verb: str) -> Exception:
        message = " ".join(str(status.message or status.reason).split())
        causes = (status.details.causes if status.details else None) or []
        conflicts = [cause for cause in causes if cause.reason == "FieldManagerConflict"]
        if conflicts:
            fields = ", ".join(dict.fromkeys(f"{cause.field} ({cause.message})" for cause in conflicts))
            return ClusterError(
                f"{self.words}: other field managers own what the rollout writes: {fields}; "
                "remove it where they set it (chart: model.version), or take it over with --force"
            )
        if status.code == 409:
            return ObjectModified(message)
        kind_is_missing = status.code == 404 and not (status.details and status.details.name)
        messages = {
            401: f"the cluster at {self._server} rejects your credentials (401: {message}); log in again",
            403: f"you may not {verb} {self.words} (403: {message}); ask for this permission",
            404: f"the cluster at {self._server} has no KServe (404: {message}); install it first"
            if kind_is_missing
            else f"there is no InferenceService {self.words}; install the chart, or name another",
        }
        refusal = f"the cluster refuses to {verb} {self.words} ({status.code}: {message})"
        return ClusterError(messages.get(status.code, refusal))


def deployment_progress(deployment: Mapping[str, Any], uri: str | None, image: str | None = None) -> Progress:
    """Return the progress of a Deployment that serves `uri` with `image`, as `kubectl rollout status` does."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    images = [container.get("image") for container in spec["template"]["spec"]["containers"]]
    served = [
        variable.get("value")
        for container in spec["template"]["spec"]["containers"]
        for variable in container.get("env") or []
        if variable["name"] == MODEL_URI_VARIABLE
    ]
    desired = spec.get("replicas", 1)
    updated, available = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
    observed = (status.get("observedGeneration") or 0) >= deployment["metadata"].get("generation", 0)
    if served != ([uri] if uri else []) or (image and image not in images) or not observed:
        return Progress(False, False, None, "the controllers have not processed it yet")
    rolled = (status.get("replicas") or 0) <= updated
    failures = (
        condition.get("message") or condition.get("reason")
        for condition in status.get("conditions") or []
        if condition["type"] == "Progressing" and condition["status"] == "False"
    )
    count = min(updated, available) if rolled else updated
    words = f"{count} of {desired} pods {'ready' if rolled else 'new'}"
    return Progress(rolled, rolled and 0 < desired <= count, next(failures, None), words)


def _line(error: Exception) -> str:
    return shorten(str(error), MAX_REASON_CHARACTERS, placeholder=" ...") or type(error).__name__

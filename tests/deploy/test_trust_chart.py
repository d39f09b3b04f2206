"""Signatures in the chart: of models, which pods verify, and of images, which the cluster verifies at admission."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from reviews_parsing.registry.signatures import KeylessPolicy
from reviews_parsing.settings import Settings

from .admission import LANGUAGE, refusals
from .rendering import GIVEN, KEY, TRUST, Manifest, container, merged, of_kind, one, predictor, rendered
from .test_jenkins import PREDICATES

SERVER = GIVEN["reviews-parsing", "gke"]["image"]
KYVERNO = {
    "enabled": True,
    "publicKey": KEY,
    "attestations": True,
    "secrets": ["registry"],
    "providers": ["google"],
    "allowInsecureRegistry": True,
}
POLICIES = {"ConfigMap", "ImageValidatingPolicy", "ClusterPolicy", "ValidatingAdmissionPolicy"}
# Fields of both policies in Kyverno 1.19, whose schemas are not here. A list of one is a list of such, True any value.
LABELS = {"matchLabels": {"kubernetes.io/metadata.name": True}}
CREDENTIALS = {"allowInsecureRegistry": True, "secrets": True, "providers": True}
KYVERNO_FIELDS: dict[str, Any] = {
    "ImageValidatingPolicy": {
        "validationActions": True,
        "failurePolicy": True,
        "webhookConfiguration": {"timeoutSeconds": True},
        "evaluation": {"background": {"enabled": True}},
        "matchConstraints": {
            "namespaceSelector": LABELS,
            "resourceRules": [{"apiGroups": True, "apiVersions": True, "operations": True, "resources": True}],
        },
        "matchImageReferences": [{"glob": True}],
        "validationConfigurations": {"mutateDigest": True, "verifyDigest": True, "required": True},
        "credentials": CREDENTIALS,
        "attestors": [
            {
                "name": True,
                "cosign": {"key": {"data": True}, "ctlog": {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}},
            }
        ],
        "validations": [{"expression": True, "message": True}],
    },
    "ClusterPolicy": {
        "background": True,
        "webhookConfiguration": {"failurePolicy": True, "timeoutSeconds": True},
        "rules": [
            {
                "name": True,
                "match": {"any": [{"resources": {"kinds": True, "namespaces": True}}]},
                "verifyImages": [
                    {
                        "imageReferences": True,
                        "type": True,
                        "failureAction": True,
                        "mutateDigest": True,
                        "verifyDigest": True,
                        "required": True,
                        "imageRegistryCredentials": CREDENTIALS,
                        "attestations": [
                            {
                                "type": True,
                                "attestors": [
                                    {
                                        "entries": [
                                            {
                                                "keys": {
                                                    "publicKeys": True,
                                                    "rekor": {"ignoreTlog": True},
                                                    "ctlog": {"ignoreSCT": True},
                                                }
                                            }
                                        ]
                                    }
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
    },
}


@pytest.fixture(scope="module")
def found() -> list[Manifest]:
    return rendered("reviews-parsing", "gke", merged(TRUST, {"admission": {"kyverno": KYVERNO}}))


def unknown(node: Any, fields: Any, path: str = "spec") -> list[str]:
    """Return the paths in a manifest that are not among the fields."""
    if fields is True:
        return []
    if isinstance(node, list):
        return [entry for n, item in enumerate(node) for entry in unknown(item, fields[0], f"{path}[{n}]")]
    return [
        entry
        for key, value in node.items()
        for entry in (unknown(value, fields[key], f"{path}.{key}") if key in fields else [f"{path}.{key}"])
    ]


def mounted(container: dict[str, Any], volumes: list[dict[str, Any]], path: str) -> dict[str, Any]:
    """Return the volume that a container has at a path."""
    [name] = [mount["name"] for mount in container["volumeMounts"] if path.startswith(f"{mount['mountPath']}/")]
    [volume] = [volume for volume in volumes if volume["name"] == name]
    return volume


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def every_pod(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """Return the specifications of the pods that a release starts."""
    pods = [m["spec"]["template"]["spec"] for m in of_kind(manifests, "Deployment")]
    pods += [m["spec"]["jobTemplate"]["spec"]["template"]["spec"] for m in of_kind(manifests, "CronJob")]
    return [*pods, one(manifests, "ServingRuntime")["spec"]]


def test_nothing_of_it_is_there_unless_asked_for() -> None:
    manifests = rendered("reviews-parsing", "gke")
    assert not [m for kind in POLICIES - {"ConfigMap"} for m in of_kind(manifests, kind)]
    assert "REVIEWS_PARSING_TRUST" not in variables(container(manifests))
    assert not [m for m in of_kind(manifests, "ConfigMap") if m["metadata"]["name"].endswith("-trust")]


def test_pods_verify_models_by_the_policy(found: list[Manifest]) -> None:
    job = one(found, "CronJob", "reviews-parsing-retrain")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pods = [(container(found), predictor(found)["volumes"]), (job["containers"][0], job["volumes"])]
    for server, volumes in pods:
        path = variables(server)["REVIEWS_PARSING_TRUST"]
        name = mounted(server, volumes, path)["configMap"]["name"]
        assert one(found, "ConfigMap", name)["data"] == {path.rpartition("/")[2]: KEY}


def test_the_retraining_signs_with_a_key_from_a_secret(found: list[Manifest]) -> None:
    job = one(found, "CronJob", "reviews-parsing-retrain")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (retraining,) = job["containers"]
    environment = variables(retraining)
    path = environment["REVIEWS_PARSING_SIGNING_KEY"]
    secret = mounted(retraining, job["volumes"], path)["secret"]
    assert (secret["secretName"], secret["items"]) == ("model-signing", [{"key": "key.pem", "path": "key.pem"}])
    assert path.endswith("/key.pem")
    password = environment["REVIEWS_PARSING_SIGNING_PASSWORD"]["secretKeyRef"]
    assert (password["name"], password["optional"]) == ("model-signing", True)
    known = {
        str(field.validation_alias or f"REVIEWS_PARSING_{n.upper()}") for n, field in Settings.model_fields.items()
    }
    assert {name for name in environment if name.startswith("REVIEWS_PARSING_")} <= known
    # The server only verifies.
    assert not [name for name in variables(container(found)) if "SIGNING" in name]


def test_pods_get_the_keys_of_an_identity_which_they_cannot_fetch() -> None:
    identity = {"identity": "https://github.com/o/r/.github/workflows/t.yml@refs/heads/main", "issuer": "https://x"}
    trust = {"publicKey": json.dumps(identity)}
    with pytest.raises(Exception, match=r"set trust\.trustConfig"):
        rendered("reviews-parsing", "gke", {"trust": trust})
    found = rendered("reviews-parsing", "gke", {"trust": {**trust, "trustConfig": '{"trustedRoot": {}}'}})
    data = one(found, "ConfigMap", f"{one(found, 'InferenceService')['metadata']['name']}-trust")["data"]
    policy = KeylessPolicy.model_validate_json(data["policy"])
    assert (policy.identity, policy.issuer) == tuple(identity.values())
    assert policy.trust_config is not None
    mount = variables(container(found))["REVIEWS_PARSING_TRUST"].rpartition("/")[0]
    assert policy.trust_config == Path(mount, "trust_config.json")
    assert data["trust_config.json"] == '{"trustedRoot": {}}'


@pytest.mark.parametrize("policy", ["hello", "-----BEGIN PRIVATE KEY-----\n"])
def test_a_value_that_is_no_policy_is_refused(policy: str) -> None:
    with pytest.raises(Exception, match="publicKey"):
        rendered("reviews-parsing", "gke", {"trust": {"publicKey": policy}})


DIGEST = f"@{SERVER['digest']}"
KINDS = ("containers", "initContainers", "ephemeralContainers")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (f"{SERVER['repository']}:0.1.0{DIGEST}", []),
        (f"{SERVER['repository']}{DIGEST}", []),
        (f"docker.io/istio/proxyv2:1.2{DIGEST}", []),
        (f"{SERVER['repository']}:0.1.0", ["not named by its digest"]),
        (f"{SERVER['repository']}-other:1{DIGEST}", ["of none of the repositories"]),
        ("docker.io/library/busybox", ["of none of the repositories", "not named by its digest"]),
    ],
)
@pytest.mark.parametrize("field", KINDS)
def test_only_images_of_the_chart_run_by_their_digest(
    found: list[Manifest], field: str, image: str, words: list[str]
) -> None:
    policy = one(found, "ValidatingAdmissionPolicy")
    good = {"name": "server", "image": f"{SERVER['repository']}{DIGEST}"}
    pod: dict[str, Any] = {"spec": {"containers": [good]}}
    pod["spec"][field] = [*pod["spec"].get(field, []), {"name": "x", "image": image}]
    messages = refusals(policy, pod)
    assert len(messages) == len(words)
    for message, word in zip(messages, words, strict=True):
        assert word in message


@pytest.mark.parametrize("field", KINDS)
def test_a_pod_that_ran_before_the_policy_may_end_and_gets_no_other_image(found: list[Manifest], field: str) -> None:
    policy = one(found, "ValidatingAdmissionPolicy")

    def pod(*images: str, finalizers: tuple[str, ...] = ()) -> dict[str, Any]:
        containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
        good = {"name": "server", "image": f"{SERVER['repository']}{DIGEST}"}
        spec = {"containers": [good]} | {field: containers} if field != "containers" else {field: containers}
        return {"metadata": {"finalizers": list(finalizers)}, "spec": spec}

    running = pod("other/train:1", finalizers=("batch.kubernetes.io/job-tracking",))
    assert len(refusals(policy, running)) == 2
    assert refusals(policy, pod("other/train:1"), former=running) == []
    assert len(refusals(policy, pod("other/train:2"), former=running)) == 2
    assert len(refusals(policy, pod("other/train:1", "other/train:2"), former=running)) == 2


def test_images_are_refused_in_the_namespace_of_the_release_only(found: list[Manifest]) -> None:
    policy, binding = one(found, "ValidatingAdmissionPolicy"), one(found, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "reviews-parsing"}}
    assert binding["spec"]["matchResources"] == {"namespaceSelector": selector}
    assert one(found, "ImageValidatingPolicy")["spec"]["matchConstraints"]["namespaceSelector"] == selector
    [match] = one(found, "ClusterPolicy")["spec"]["rules"][0]["match"]["any"]
    assert match["resources"] == {"kinds": ["Pod"], "namespaces": ["reviews-parsing"]}


def test_every_image_of_a_pod_of_the_chart_may_run() -> None:
    pinned = {"digest": SERVER["digest"]}
    images = {"tools": {"image": pinned}, "retrain": {"image": pinned}, "page": {"enabled": True, "host": "x.example"}}
    manifests = rendered("reviews-parsing", "gke", merged(TRUST, images))
    pods = every_pod(manifests)
    assert len(pods) == 3
    for pod in pods:
        assert refusals(one(manifests, "ValidatingAdmissionPolicy"), {"spec": pod}) == []


@pytest.mark.parametrize("kind", KYVERNO_FIELDS)
def test_policies_of_kyverno_have_known_fields(found: list[Manifest], kind: str) -> None:
    policy = one(found, kind)
    api = {"ImageValidatingPolicy": "policies.kyverno.io/v1", "ClusterPolicy": "kyverno.io/v1"}
    assert policy["apiVersion"] == api[kind]
    assert unknown(policy["spec"], KYVERNO_FIELDS[kind]) == []


def test_an_image_needs_a_signature_by_the_key(found: list[Manifest]) -> None:
    spec = one(found, "ImageValidatingPolicy")["spec"]
    assert (spec["validationActions"], spec["failurePolicy"]) == (["Deny"], "Fail")
    assert spec["validationConfigurations"] == {"mutateDigest": False, "verifyDigest": True, "required": True}
    [attestor] = spec["attestors"]
    assert attestor["cosign"]["key"] == {"data": KEY}
    # The pipeline uploads nothing to a log (test_jenkins).
    assert attestor["cosign"]["ctlog"] == {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}
    [rule] = spec["validations"]
    call = f"verifyImageSignatures(image, [attestors.{attestor['name']}])"
    assert call in rule["expression"]
    # The function is Kyverno's; the rest is CEL, and a boolean.
    program = LANGUAGE.compile(rule["expression"].replace(call, "int(image)").replace("images.", "object."))
    assert str(program.return_type()) == "BOOL"
    # Kyverno gives the three lists, an empty one if there are no such containers, and counts the valid signatures.
    for lists in KINDS:
        for count, accepted in (("1", True), ("0", False)):
            images: dict[str, list[str]] = {kind: [] for kind in KINDS} | {lists: ["1", count]}
            assert program.eval(data={"object": images}).plain_value() is accepted, lists


def test_policies_of_kyverno_are_for_every_image_that_the_chart_starts() -> None:
    images = {"page": {"enabled": True, "host": "x.example"}, "report": {"enabled": True, "sources": ["s3://b/p/"]}}
    manifests = rendered("reviews-parsing", "gke", merged(TRUST, {**images, "admission": {"kyverno": KYVERNO}}))
    started = {started["image"] for pod in every_pod(manifests) for started in pod["containers"]}
    spec = one(manifests, "ImageValidatingPolicy")["spec"]
    [rule] = one(manifests, "ClusterPolicy")["spec"]["rules"]
    [verified] = rule["verifyImages"]
    for globs in ([reference["glob"] for reference in spec["matchImageReferences"]], verified["imageReferences"]):
        assert [image for image in started if not any(fnmatch(image, glob) for glob in globs)] == []
    assert len({image.partition(":")[0] for image in started}) == 3
    # Containers of `kubectl debug` come by a resource of their own, which Kyverno does not add to such a policy.
    for kind in ("ImageValidatingPolicy", "ValidatingAdmissionPolicy"):
        [resources] = one(manifests, kind)["spec"]["matchConstraints"]["resourceRules"]
        assert resources["resources"] == ["pods", "pods/ephemeralcontainers"]


def test_an_image_needs_what_the_pipeline_attests(found: list[Manifest]) -> None:
    [rule] = one(found, "ClusterPolicy")["spec"]["rules"]
    [images] = rule["verifyImages"]
    assert (images["failureAction"], images["required"]) == ("Enforce", True)
    assert [attestation["type"] for attestation in images["attestations"]] == list(PREDICATES)
    for attestation in images["attestations"]:
        [[entry]] = [attestor["entries"] for attestor in attestation["attestors"]]
        assert entry["keys"]["publicKeys"] == KEY
    without = rendered("reviews-parsing", "gke", {"admission": {"kyverno": {**KYVERNO, "attestations": False}}})
    assert not of_kind(without, "ClusterPolicy")
    assert of_kind(without, "ImageValidatingPolicy")


def test_kyverno_needs_a_key() -> None:
    with pytest.raises(Exception, match="publicKey"):
        rendered("reviews-parsing", "gke", {"admission": {"kyverno": {"enabled": True}}})

"""Signatures of model folders (OpenSSF model-signing): SHA-256 of every file, signed with a key or keyless.

A signature is a Sigstore bundle, a file beside the folder. On the tracking store it is an artifact of the run.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reviews_parsing.errors import ModelError, ModelNotTrusted
from reviews_parsing.model_folder import short_reason
from reviews_parsing.registry.integrity import FileRecord, compare_files, missing_file
from reviews_parsing.registry.store import DOWNLOAD_LIMITS, tracking
from reviews_parsing.settings import Settings

if TYPE_CHECKING:
    from model_signing.hashing import Config as Hashing
    from model_signing.signing import Config as Signer
    from model_signing.verifying import Config as Verifier

SIGNATURE_FILE = "model.sig"
"""Name of the signature among the artifacts of a run."""
KEYLESS = "keyless"
MAX_SIGNATURE_BYTES = 2**20
PREDICATE = "https://model_signing/signature/v1.0"
_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
# Kinds of signature by the field of a bundle's verification material.
_KINDS = {"publicKey": "a key", "x509CertificateChain": "a certificate", "certificate": "a keyless identity"}
_INSTALL = "pip install 'reviews-parsing[signing]'"


class KeylessPolicy(BaseModel):
    """Trust in one identity of an OpenID Connect issuer, such as a workflow of GitHub Actions.

    `trust_config` is a Sigstore trust configuration, for verification without a network or a private instance.
    """

    model_config = ConfigDict(extra="forbid")

    identity: str = Field(min_length=1)
    issuer: str = Field(min_length=1)
    trust_config: Path | None = None


def signature_file(folder: Path) -> Path:
    """Return the path of the signature, beside the folder, because a file inside would be part of the model."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.parent / f"{named.name}.sig"


def signing_is_configured() -> bool:
    """Return whether models are signed when they are registered."""
    return Settings().signing_key is not None


def require_signer() -> None:
    """Raise ModelError if models are to be signed, but the key cannot be used."""
    if signing_is_configured():
        _signer()


def sign(folder: Path, target: Path) -> None:
    """Write the signature of a model folder to `target`, by `REVIEWS_PARSING_SIGNING_KEY`.

    Raises ModelError if no key is configured, it cannot be used, or the folder is incomplete.
    """
    if missing := missing_file(folder):
        raise ModelError(f"{folder} is incomplete: it has no {missing}")
    signer = _signer()
    try:
        signer.set_hashing_config(_hashing()).sign(folder, target)
    except Exception as error:  # besides its own classes, those of cryptography and of Sigstore's transport
        raise ModelError(f"{folder} cannot be signed ({short_reason(error)})") from error


def require_trusted(folder: Path, signature: Path, subject: str) -> None:
    """Verify the signature of a folder by the trust policy (`REVIEWS_PARSING_TRUST`); do nothing without one.

    Raises ModelNotTrusted, which names `subject`, if the signature is missing, damaged or by another signer, or a file
    differs; ModelError if the policy cannot be used.
    """
    policy = Settings().trust
    if policy is None:
        return
    if not signature.is_file():
        raise ModelNotTrusted(
            f"{subject} is not signed, and the trust policy {policy} demands it; `reviews-parsing sign` signs it"
        )
    kind, digests = _read(signature, subject)
    with tempfile.TemporaryDirectory() as scratch:
        errors = []
        for trusted, verifier in _verifiers(policy, Path(scratch)):
            if kind != trusted:
                raise ModelNotTrusted(f"{subject} is refused: it is signed by {kind}, and {policy} trusts {trusted}")
            try:
                verifier.set_hashing_config(_hashing()).verify(folder, signature)
            except Exception as error:  # besides its own classes, those of cryptography, OpenSSL and Sigstore
                errors.append(error)
                continue
            # A signature may exclude files.
            if difference := compare_files(folder, digests, "signed"):
                raise ModelNotTrusted(f"{subject} is refused: {difference}")
            return
    raise ModelNotTrusted(f"{subject} is refused: {_refusal(errors, folder, digests, policy)}")


def download_signature(uri: str, folder: str) -> None:
    """Download the signature of `models:/NAME/3` or `runs:/ID/...` to `folder / SIGNATURE_FILE`, if it has one.

    Raises ModelNotTrusted if it is too large, TrackingError.
    """
    kind, *names = uri.split("/")
    with tracking() as client:
        run_id = names[0] if kind == "runs:" else client.get_model_version(*names).run_id
    if not run_id:
        return
    with tracking(DOWNLOAD_LIMITS) as client:
        files = {file.path: file.file_size or 0 for file in client.list_artifacts(run_id)}
        if (size := files.get(SIGNATURE_FILE)) is None:
            return
        if size > MAX_SIGNATURE_BYTES:
            raise ModelNotTrusted(f"{uri} is refused: its signature has {size:,} bytes")
        client.download_artifacts(run_id, SIGNATURE_FILE, folder)


def _refusal(errors: list[Exception], folder: Path, digests: dict[str, FileRecord], policy: Path) -> str:
    """Return the reason of a refusal; a signer is trusted if the library compared files."""
    if any("Signature mismatch" in str(error) for error in errors):
        difference = compare_files(folder, digests, "signed") or "its files differ"
        return f"{difference}, as the signature says"
    if any("Key mismatch" in str(error) for error in errors):
        return f"its signature is by another key than those in {policy}"
    return f"its signature is invalid, or not by a signer in {policy} ({short_reason(errors[0])})"


def _read(signature: Path, subject: str) -> tuple[str, dict[str, FileRecord]]:
    """Return the kind of a signature, and the digests in it. Raises ModelNotTrusted if it is damaged."""
    try:
        if signature.stat().st_size > MAX_SIGNATURE_BYTES:
            raise ValueError(f"more than {MAX_SIGNATURE_BYTES:,} bytes")
        bundle = json.loads(signature.read_text(encoding="utf-8"))
        material: dict[str, Any] = bundle["verificationMaterial"]
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        if statement["predicateType"] != PREDICATE:
            raise ValueError("not of model-signing 1.0 or later")
        kind = next(_KINDS[field] for field in _KINDS if material.get(field))
        if kind == _KINDS["publicKey"] and not material["publicKey"].get("hint"):
            raise ValueError("not of model-signing 1.0 or later")
        files = {str(file["name"]): FileRecord(str(file["digest"])) for file in statement["predicate"]["resources"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        raise ModelNotTrusted(
            f"{subject} is refused: its signature is damaged ({short_reason(error)}); sign it again"
        ) from error
    return kind, files


def _verifiers(policy: Path, scratch: Path) -> Iterator[tuple[str, Verifier]]:
    """Yield a verifier for each key of a policy, or the one of its certificates or of its identity."""
    try:
        text = policy.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"the trust policy {policy} cannot be read ({short_reason(error)})") from error
    try:
        from model_signing.verifying import Config
    except ImportError as error:
        raise ModelError(f"the trust policy {policy} needs model-signing ({error}): {_INSTALL}") from error
    try:
        for number, key in enumerate(keys := _KEY.findall(text)):
            file = scratch / f"{number}.pem"
            file.write_text(key, encoding="ascii")
            yield _KINDS["publicKey"], Config().use_elliptic_key_verifier(public_key=file)
        if keys:
            return
        if _CERTIFICATE in text:
            yield _KINDS["x509CertificateChain"], Config().use_certificate_verifier(certificate_chain=[policy])
            return
        keyless = KeylessPolicy.model_validate_json(text)
    except ValidationError as error:
        raise ModelError(
            f"the trust policy {policy} has no public key or certificate (PEM), and no identity and issuer (JSON)"
        ) from error
    except AttributeError as error:  # how the library refuses keys of another kind
        raise ModelError(
            f"the trust policy {policy} has a key that is not an elliptic curve key (P-256, P-384 or P-521)"
        ) from error
    except ValueError as error:
        raise ModelError(f"the trust policy {policy} is damaged ({short_reason(error)})") from error
    try:
        verifier = Config().use_sigstore_verifier(
            identity=keyless.identity, oidc_issuer=keyless.issuer, trust_config=keyless.trust_config
        )
    except Exception as error:  # besides its own classes, those of its transport
        raise ModelError(
            f"the trust policy {policy} cannot be used ({short_reason(error)}); without a network, name a trust_config "
            "in it"
        ) from error
    yield _KINDS["certificate"], verifier


def _signer() -> Signer:
    settings = Settings()
    if settings.signing_key is None:
        raise ModelError("there is no key to sign with; set REVIEWS_PARSING_SIGNING_KEY to its file, or to keyless")
    try:
        from model_signing.signing import Config
    except ImportError as error:
        raise ModelError(f"signing needs model-signing ({error}): {_INSTALL}") from error
    if settings.signing_key == KEYLESS:
        return _keyless_signer()
    key, password = Path(settings.signing_key), settings.signing_password
    try:
        if settings.signing_certificate:
            chain = settings.signing_certificate
            return Config().use_certificate_signer(
                private_key=key, signing_certificate=chain, certificate_chain=[chain]
            )
        # The library passes the password on to a function that takes bytes.
        return Config().use_elliptic_key_signer(
            private_key=key, password=password.get_secret_value().encode() if password else None
        )
    except Exception as error:  # cryptography has many classes, one for each fault of a key
        raise ModelError(
            f"the signing key {key} cannot be used ({short_reason(error)}); it has to be an elliptic curve key in PEM, "
            "such as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes"
        ) from error


def _keyless_signer() -> Signer:
    """Return a signer by the identity of this machine's job or, at a terminal, of a person who logs in."""
    from model_signing.signing import Config
    from sigstore.oidc import detect_credential

    try:
        if detect_credential() is None and not sys.stdin.isatty():
            raise ModelError("keyless signing needs the identity of a CI job or of a cloud's machine, or a terminal")
        return Config().use_sigstore_signer(use_ambient_credentials=True)
    except ModelError:
        raise
    except Exception as error:  # besides its own classes, those of its transport
        raise ModelError(f"keyless signing is not possible ({short_reason(error)})") from error


def _hashing() -> Hashing:
    """Return the digest of a folder: SHA-256 of every file, without exceptions."""
    from model_signing.hashing import Config

    return (
        Config().use_file_serialization(hashing_algorithm="sha256").set_ignored_paths(paths=(), ignore_git_paths=False)
    )

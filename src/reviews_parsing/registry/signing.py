"""Signatures of model folders (OpenSSF Model Signing, elliptic-curve keys) and the policy whom to trust.

Registration signs if `REVIEWS_PARSING_SIGNING_KEY` is set. Loading verifies if `REVIEWS_PARSING_TRUST` is set: a public
key (PEM), or a policy in JSON, `{"keys": ["team.pem"], "allow_pretrained": true}`, with paths relative to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviews_parsing import pretrained
from reviews_parsing.errors import ModelError
from reviews_parsing.settings import Settings

SIGNATURE_FILE = "model.sig"


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Public keys, any of which may have signed a model, and whether the model of the package needs no signature."""

    keys: tuple[Path, ...]
    allow_pretrained: bool = False

    @classmethod
    def read(cls, file: Path) -> TrustPolicy:
        """Raises ModelError if the file is neither a public key nor a policy, or names no key that exists."""
        try:
            text = file.read_text(encoding="utf-8")
            if text.lstrip().startswith("-----BEGIN"):
                return cls((file,))
            policy = json.loads(text)
            keys = tuple(file.parent / name for name in policy["keys"])
            allow_pretrained = policy.get("allow_pretrained", False)
            if not keys or not isinstance(allow_pretrained, bool) or policy.keys() - {"keys", "allow_pretrained"}:
                raise ValueError('it needs "keys" and may have "allow_pretrained"')
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"REVIEWS_PARSING_TRUST: {file} is no public key and no policy ({error})") from error
        for key in keys:
            if not key.is_file():
                raise ModelError(f"REVIEWS_PARSING_TRUST: {file} names {key}, which does not exist")
        return cls(keys, allow_pretrained)


def sign_folder(folder: Path, key: Path) -> None:
    """Sign the files of a model folder; the signature becomes one of them. Raises ModelError if the key is unusable."""
    signing = _library("signing")
    (folder / SIGNATURE_FILE).unlink(missing_ok=True)
    try:
        signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(_hashing()).sign(
            folder, folder / SIGNATURE_FILE
        )
    except (ValueError, TypeError, OSError) as error:
        raise ModelError(f"REVIEWS_PARSING_SIGNING_KEY: {key} cannot sign the model ({error})") from error


def require_trusted(folder: Path) -> None:
    """Verify the signature of a model folder if a trust policy is set. Raises ModelError unless a trusted key fits."""
    file = Settings().trust
    if file is None:
        return
    policy = TrustPolicy.read(file)
    if folder.resolve() == (pretrained.FOLDER / "model").resolve() and policy.allow_pretrained:
        return
    if not (folder / SIGNATURE_FILE).is_file():
        raise ModelError(
            f"{folder} is not signed (no {SIGNATURE_FILE}), and {file} demands it; sign it when registering"
        )
    verifying = _library("verifying")
    reasons = []
    for key in policy.keys:
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(_hashing()).verify(
                folder, folder / SIGNATURE_FILE
            )
        except Exception as error:  # the library documents no error classes
            reasons.append(f"{key.name}: {' '.join(str(error).split()) or type(error).__name__}")
        else:
            return
    raise ModelError(f"{folder} is not signed by a key that {file} trusts ({'; '.join(reasons)}); do not use it")


def _hashing() -> Any:
    """Return the hashing of every file but the signature, whatever its name begins with."""
    return _library("hashing").Config().set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)


def _library(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"model_signing.{module}")
    except ImportError as error:
        raise ModelError("signed models need an extra: pip install 'reviews-parsing[sign]'") from error

"""An issuer of tokens (OpenID Connect): its keys, and signed tokens."""

from __future__ import annotations

import base64
import json
import time

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256


class Issuer:
    """An issuer with one RSA key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def keys(self) -> str:
        """The public key, as a JWKS."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": _number(numbers.n), "e": _number(numbers.e)}
        return json.dumps({"keys": [key]})

    def token(self, **claims: object) -> str:
        """Return the header `Authorization` with a token for the audience `reviews`, valid for an hour."""
        now = int(time.time())
        payload = {"iss": self.name, "sub": "robot", "aud": "reviews", "iat": now, "exp": now + 3600, **claims}
        signed = b".".join(_encoded(json.dumps(p).encode()) for p in ({"alg": "RS256", "kid": "1"}, payload))
        signature = self._key.sign(signed, padding.PKCS1v15(), SHA256())
        return f"Bearer {b'.'.join((signed, _encoded(signature))).decode()}"


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

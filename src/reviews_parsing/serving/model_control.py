"""Permission to manage models: load, unload and the index of the repository."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from ipaddress import ip_address

from starlette.requests import Request

from reviews_parsing.errors import RequestRefused
from reviews_parsing.settings import Settings, split

SCHEME = "Bearer "


class ModelControl:
    """Management over the network is off without a token in REVIEWS_PARSING_MODEL_CONTROL.

    With it, each request must bring the token. With a local socket instead, models are managed there alone.

    The token decides, not the path: a gateway that forwards a path in an unusual encoding changes nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._token = settings.control_token
        self._has_socket = settings.control_socket is not None
        self._hosts = {"localhost", *split(settings.allowed_hosts.lower())}

    def check(self, authorization: str | None) -> None:
        """Raise RequestRefused unless `authorization` is `Bearer` and the token: 403 if it is off, else 401."""
        if not self._token:
            way = "use the socket" if self._has_socket else "set REVIEWS_PARSING_MODEL_CONTROL to a token"
            message = f"models cannot be managed over the network; {way} on the server"
            raise RequestRefused(message, HTTPStatus.FORBIDDEN)
        if not hmac.compare_digest((authorization or "").encode(), f"{SCHEME}{self._token}".encode()):
            message = "models are managed with a token; send the header 'Authorization: Bearer TOKEN'"
            raise RequestRefused(message, HTTPStatus.UNAUTHORIZED)

    def check_request(self, request: Request) -> None:
        """Raise RequestRefused as `check` does, or with 403 if the header Host is a name that is not allowed.

        A page can make a browser resolve its own name to this server's address, but not choose an address as the name.
        """
        host = request.headers.get("Host", "").lower()
        is_ipv6 = host.startswith("[") and "]" in host
        name = host[1:].partition("]")[0] if is_ipv6 else host.partition(":")[0]
        if name not in self._hosts and not _is_address(name):
            raise RequestRefused(
                f"models are not managed under the name '{name[:60]}'; use the address of the server, or add the name "
                "to REVIEWS_PARSING_ALLOWED_HOSTS",
                HTTPStatus.FORBIDDEN,
            )
        self.check(request.headers.get("Authorization"))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

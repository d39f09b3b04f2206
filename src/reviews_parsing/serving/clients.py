"""Identity of clients, among which the queue divides the capacity of the server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from reviews_parsing.settings import Settings, split

if TYPE_CHECKING:
    from starlette.requests import Request

FORWARDED, AUTHORIZATION = "x-forwarded-for", "authorization"
# Hosts on the Internet have whole networks of this size.
IPV6_PREFIX = 64

Address = IPv4Address | IPv6Address


class Client(NamedTuple):
    """A client: its network address, and a digest of its credential, both empty if unknown.

    Credentials are not checked, so they divide the share of an address, and new ones do not add to it.
    """

    address: str = ""
    credential: str = ""


UNKNOWN = Client()
_current: ContextVar[Client] = ContextVar("client", default=UNKNOWN)


def current_client() -> Client:
    """Return the client of the current request."""
    return _current.get()


class ClientIdentity:
    """Identifies clients by address and credential, and by X-Forwarded-For behind the proxies of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = [ip_network(network) for network in split(settings.trusted_proxies)]

    @contextmanager
    def of_rest(self, request: Request) -> Iterator[None]:
        """Set the current client to that of a REST request."""
        forwarded = ",".join(request.headers.getlist(FORWARDED))
        client = self.identify(
            request.client.host if request.client else "", request.headers.get(AUTHORIZATION, ""), forwarded
        )
        with _identified(client):
            yield

    @contextmanager
    def of_grpc(self, context: Any) -> Iterator[None]:
        """Set the current client to that of a gRPC call."""
        metadata = [(key, value) for key, value in context.invocation_metadata() or () if isinstance(value, str)]
        forwarded = ",".join(value for key, value in metadata if key == FORWARDED)
        # The peer is "ipv4:ADDRESS:PORT" or "ipv6:%5BADDRESS%5D:PORT".
        peer = unquote(context.peer() or "").partition(":")[2]
        with _identified(self.identify(peer, dict(metadata).get(AUTHORIZATION, ""), forwarded)):
            yield

    def identify(self, peer: str, credential: str, forwarded: str) -> Client:
        """Return the client at address `peer`, or the one that a trusted proxy at `peer` forwards for.

        Each proxy appends the address of its client to `forwarded`: the last one that is not a trusted proxy counts.
        """
        address = _parse(peer)
        hops = forwarded.split(",")
        while self._is_trusted(address) and hops and (hop := _parse(hops.pop())):
            address = hop
        return Client(_network(address), _digest(credential))

    def is_proxy(self, peer: str) -> bool:
        """Return whether `peer` is the address of a trusted proxy, whose connections carry requests of many clients."""
        return self._is_trusted(_parse(peer))

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._proxies)


@contextmanager
def _identified(client: Client) -> Iterator[None]:
    token = _current.set(client)
    try:
        yield
    finally:
        _current.reset(token)


def _parse(text: str) -> Address | None:
    """Return an address that may have a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(address: Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), IPV6_PREFIX), strict=False))
    return str(address or "")


def _digest(credential: str) -> str:
    return hashlib.blake2b(credential.encode(), digest_size=16).hexdigest() if credential else ""

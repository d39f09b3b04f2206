"""Queue that divides work among clients: by address, and within an address by credential.

Self-clocked fair queueing (Golestani, 1994): each member has a virtual time, which grows by the pages of its work that
is taken, and the work that ends first in virtual time is next. A member with little work is soon served however much
another one has, and none waits forever.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from reviews_parsing.serving.clients import Client

# Share of the pages that later work gets while first work is always waiting.
LATER_SHARE = 0.125
# Maximum pages by which abandoned requests delay an address.
MAX_FINE = 256
# Members without work are forgotten when there are many.
MAX_IDLE_MEMBERS = 1024

Work = TypeVar("Work", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Work in the queue: its request and class, the pages of its turn, and the pages that remain after the turn."""

    client: Client
    number: int
    later: bool
    turn: int
    rest: int

    @property
    def pages(self) -> tuple[int, int]:
        """Pages of first and of later work."""
        return (0, self.turn + self.rest) if self.later else (self.turn, self.rest)


class FairQueue(Generic[Work]):
    """Waiting work of clients, first and later. Not thread-safe.

    Later work yields to first work, but gets a share of LATER_SHARE.
    """

    def __init__(self) -> None:
        self._entries: dict[Work, _Entry] = {}
        self._classes: tuple[_Class[Work], _Class[Work]] = _Class(), _Class()
        # Pages by which later work has been served less than its share.
        self._arrears = 0.0
        # Waiting pages of first and of later work: in all, of each address, and of each client.
        self.pages = [0, 0]
        self._address_pages: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        self._client_pages: tuple[Counter[Client], Counter[Client]] = Counter(), Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, work: Work, client: Client, number: int, later: bool, turn: int, rest: int = 0) -> None:
        """Add work of the request `number`, which takes `turn` pages until it is complete or added for the `rest`."""
        self._entries[work] = entry = _Entry(client, number, later, turn, rest)
        self._classes[later].push(work, client, turn)
        self._count(entry, 1)

    def take(self, fits: Callable[[Work], bool] | None = None) -> Work | None:
        """Remove and return the next work; None if the queue is empty, or it does not fit."""
        first, later = self._classes
        next_later = later.head()
        # A batch that was begun is completed with first work.
        is_due = fits is None and next_later is not None and self._arrears >= self._entries[next_later].turn
        work = next_later if is_due or not first else first.head()
        if work is None or (fits and not fits(work)):
            return None
        entry = self._entries[work]
        self._classes[entry.later].charge(work, entry.client, entry.turn)
        if entry.later:
            self._arrears = max(0.0, self._arrears - entry.turn)
        elif later:
            self._arrears += LATER_SHARE * entry.turn
        self.remove(work)
        return work

    def remove(self, work: Work) -> None:
        """Remove work. Nothing happens if it is not in the queue."""
        if entry := self._entries.pop(work, None):
            self._classes[entry.later].remove(work, entry.client)
            self._count(entry, -1)

    def fine(self, client: Client, pages: int, later: bool) -> None:
        """Let the address of `client` wait as if `pages` of work that it abandoned had been served."""
        self._classes[later].fine(client, pages)

    def clear(self) -> None:
        """Remove all work."""
        for work in list(self._entries):
            self.remove(work)

    def displaceable(self, client: Client, pages: int, later: bool) -> Work | None:
        """Return work of the client with most pages, from its newest request.

        None if `client` would have as much with `pages` more. Addresses are compared first, then the credentials of the
        same address. `later` selects the class.
        """
        addresses, clients = self._address_pages[later], self._client_pages[later]
        address = max(addresses, key=addresses.__getitem__, default=client.address)
        if addresses[address] <= addresses[client.address] + pages:
            address = client.address
        least = clients[client] + pages if address == client.address else 0
        candidates = (
            (clients[entry.client], entry.number, work)
            for work, entry in self._entries.items()
            if entry.client.address == address and entry.pages[later] and clients[entry.client] > least
        )
        return max(candidates, key=lambda candidate: candidate[:2], default=(0, 0, None))[2]

    def _count(self, entry: _Entry, sign: int) -> None:
        for later, pages in enumerate(entry.pages):
            self.pages[later] += sign * pages
            for counter, key in ((self._address_pages, entry.client.address), (self._client_pages, entry.client)):
                counts: Counter[Hashable] = counter[later]  # type: ignore[assignment]
                counts[key] += sign * pages
                if not counts[key]:
                    del counts[key]


class _Turns:
    """Virtual times of members that take turns."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._now = 0.0

    def join(self, member: str) -> None:
        """Let a member that has work again start at the present, or later if it has had more than its share."""
        if len(self._times) > MAX_IDLE_MEMBERS:
            self._times = {each: time for each, time in self._times.items() if time > self._now}
        self._times[member] = max(self._now, self.time(member))

    def time(self, member: str) -> float:
        """Return the virtual time of a member."""
        return self._times.get(member, self._now)

    def charge(self, member: str, pages: int) -> None:
        """Count a turn of a member."""
        self._times[member] = self.time(member) + pages
        self._now = max(self._now, self._times[member])

    def fine(self, member: str, pages: int) -> None:
        """Count work that a member abandoned, up to a maximum."""
        self._times[member] = min(max(self._now, self.time(member)) + pages, self._now + MAX_FINE)


class _Class(Generic[Work]):
    """Work of one class, by address and credential."""

    def __init__(self) -> None:
        self._turns = _Turns()
        self._addresses: dict[str, _Address[Work]] = {}

    def __bool__(self) -> bool:
        return bool(self._addresses)

    def push(self, work: Work, client: Client, pages: int) -> None:
        if client.address not in self._addresses:
            self._turns.join(client.address)
            self._addresses[client.address] = _Address()
        self._addresses[client.address].push(work, client.credential, pages)

    def head(self) -> Work | None:
        """Return the work that is next."""
        if not self._addresses:
            return None
        address = min(self._addresses, key=lambda each: self._turns.time(each) + self._addresses[each].head[1])
        return self._addresses[address].head[0]

    def charge(self, work: Work, client: Client, pages: int) -> None:
        self._turns.charge(client.address, pages)
        self._addresses[client.address].turns.charge(client.credential, pages)

    def fine(self, client: Client, pages: int) -> None:
        self._turns.fine(client.address, pages)

    def remove(self, work: Work, client: Client) -> None:
        if self._addresses[client.address].remove(work, client.credential):
            del self._addresses[client.address]


class _Address(Generic[Work]):
    """Work of one address, by credential. Must not be empty when its head is used."""

    def __init__(self) -> None:
        self.turns = _Turns()
        self._queues: dict[str, OrderedDict[Work, int]] = {}
        self._head: tuple[Work, int] | None = None

    @property
    def head(self) -> tuple[Work, int]:
        """The work that is next, and its pages."""
        if self._head is None:
            heads = {credential: next(iter(queue.items())) for credential, queue in self._queues.items()}
            self._head = heads[min(heads, key=lambda each: self.turns.time(each) + heads[each][1])]
        return self._head

    def push(self, work: Work, credential: str, pages: int) -> None:
        if credential not in self._queues:
            self.turns.join(credential)
            self._queues[credential] = OrderedDict()
        self._queues[credential][work] = pages
        self._head = None

    def remove(self, work: Work, credential: str) -> bool:
        """Remove work, and return whether no work is left."""
        del self._queues[credential][work]
        if not self._queues[credential]:
            del self._queues[credential]
        self._head = None
        return not self._queues

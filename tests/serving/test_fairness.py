"""Fairness among clients: their identity, the order of their work, and who is shed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving.clients import Client, ClientIdentity, current_client
from reviews_parsing.serving.fair_queue import MAX_FINE, MAX_IDLE_MEMBERS, FairQueue, _Turns
from reviews_parsing.serving.queue import BATCH_TEXTS, PART_TEXTS, ParsedPart, ParseQueue
from reviews_parsing.settings import Settings

from .test_queue import BLOCKER, WINDOW, Clock, FakeParser, blocked, queue_of

HEAVY, LIGHT, OTHER = Client("192.0.2.1"), Client("192.0.2.2"), Client("192.0.2.3")


def identity(proxies: str = "") -> ClientIdentity:
    return ClientIdentity(Settings(trusted_proxies=proxies))


async def sent(queue: ParseQueue, client: Client, *requests: list[str]) -> list[asyncio.Task[list[ParsedPart]]]:
    tasks = [asyncio.create_task(queue.run(texts, client)) for texts in requests]
    await asyncio.sleep(0)
    return tasks


def order(parser: FakeParser) -> list[str]:
    return [text for texts, _ in parser.calls for text in texts if text != BLOCKER]


def statuses(outcomes: Sequence[object]) -> list[int]:
    return [outcome.status if isinstance(outcome, RequestRefused) else 200 for outcome in outcomes]


def test_clients_take_turns_however_much_one_of_them_has_sent() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            tasks = await sent(queue, HEAVY, *[["heavy"]] * 100)
            tasks += await sent(queue, LIGHT, ["light"], ["light"])
            tasks += await sent(queue, OTHER, ["other"])
            parser.gate.set()
            await asyncio.gather(blocker, *tasks)
        assert order(parser)[:6] == ["heavy", "light", "other", "heavy", "light", "heavy"]
        assert order(parser).count("heavy") == 100

    asyncio.run(check())


def test_turns_are_measured_in_work_not_in_requests() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            tasks = await sent(queue, HEAVY, *[["heavy"] * PART_TEXTS] * 4)
            tasks += await sent(queue, LIGHT, *[["light"]] * 2 * PART_TEXTS)
            parser.gate.set()
            await asyncio.gather(blocker, *tasks)
        for end in range(PART_TEXTS, 4 * PART_TEXTS, PART_TEXTS):
            begin = order(parser)[:end]
            assert abs(begin.count("heavy") - begin.count("light")) <= PART_TEXTS
        assert order(parser)[: PART_TEXTS - 1] == ["light"] * (PART_TEXTS - 1)

    asyncio.run(check())


def test_credentials_share_the_turns_of_their_address() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            tasks = []
            for number in range(20):
                tasks += await sent(queue, Client(HEAVY.address, f"invented {number}"), ["heavy"])
            tasks += await sent(queue, LIGHT, *[["light"]] * 5)
            for credential in ("a", "b"):
                tasks += await sent(queue, Client(OTHER.address, credential), *[[credential]] * 3)
            parser.gate.set()
            await asyncio.gather(blocker, *tasks)
        assert order(parser)[:12] == ["heavy", "light", "a", "heavy", "light", "b"] * 2

    asyncio.run(check())


def test_slices_of_long_texts_get_their_share_beside_reviews_that_are_always_waiting() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            [long] = await sent(queue, HEAVY, ["!" * (9 * WINDOW)])
            tasks = await sent(queue, LIGHT, *[["light"]] * (16 * BATCH_TEXTS))
            parser.gate.set()
            await asyncio.gather(blocker, long, *tasks)
        slices = [number for number, (texts, _) in enumerate(parser.calls) if texts[0].startswith("!")]
        assert len(slices) == 9
        # The text was complete while reviews were still waiting.
        assert slices[-1] < len(parser.calls) - 1
        assert all(1 <= end - begin <= 2 for begin, end in itertools.pairwise(slices[1:]))

    asyncio.run(check())


def test_a_full_queue_sheds_the_newest_request_of_the_client_with_most_work() -> None:
    parser = FakeParser(Clock())
    shed: list[bool] = []

    async def check() -> None:
        # 50 pages at the first estimate of 5 ms.
        with queue_of(parser, max_wait=0.25, on_shed=shed.append) as queue:
            blocker = await blocked(queue, parser)
            heavy = await sent(queue, HEAVY, *[["heavy"]] * 60)
            assert statuses(await asyncio.gather(*heavy[49:], return_exceptions=True)) == [503] * 11
            assert shed == [False] * 11
            with pytest.raises(RequestRefused, match="later"):
                queue.admit(HEAVY)
            queue.admit(LIGHT)
            light = await sent(queue, LIGHT, *[["light"]] * 3)
            assert statuses(await asyncio.gather(*heavy[46:49], return_exceptions=True)) == [503] * 3
            assert shed == [False] * 12 + [True] * 3
            parser.gate.set()
            await asyncio.gather(blocker, *heavy[:46], *light)
            assert queue.waiting == 0

    asyncio.run(check())


def test_clients_with_equal_work_do_not_displace_each_other() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser, max_wait=0.25) as queue:
            blocker = await blocked(queue, parser)
            waiting = []
            for number in range(49):
                waiting += await sent(queue, Client(f"client {number}"), ["a"])
            for client in (Client("one more"), Client("client 3")):
                with pytest.raises(RequestRefused, match="later"):
                    queue.admit(client)
                with pytest.raises(RequestRefused, match="later"):
                    await queue.run(["a"], client)
            parser.gate.set()
            await asyncio.gather(blocker, *waiting)

    asyncio.run(check())


def test_invented_credentials_are_shed_as_one_address() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser, max_wait=0.25) as queue:
            blocker = await blocked(queue, parser)
            heavy = []
            for number in range(47):
                heavy += await sent(queue, Client(HEAVY.address, str(number)), ["heavy"])
            light = await sent(queue, LIGHT, *[["light"]] * 22)
            assert statuses(await asyncio.gather(*heavy[27:], return_exceptions=True)) == [503] * 20
            with pytest.raises(RequestRefused, match="later"):
                await queue.run(["heavy"], Client(HEAVY.address, "new"))
            parser.gate.set()
            await asyncio.gather(blocker, *heavy[:27], *light)

    asyncio.run(check())


def test_a_long_text_gives_way_to_a_shorter_one() -> None:
    parser = FakeParser(Clock())
    long = "!" * (20 * WINDOW)

    async def check() -> None:
        with queue_of(parser, max_wait=0.25) as queue:
            blocker = await blocked(queue, parser)
            # Of 84 pages all but the first slice count as later work, which fills the queue for long requests.
            [heavy] = await sent(queue, HEAVY, [long])
            [light] = await sent(queue, LIGHT, ["!" * (9 * WINDOW)])
            assert statuses(await asyncio.gather(heavy, return_exceptions=True)) == [503]
            parser.gate.set()
            await asyncio.gather(blocker, light)
            assert queue.waiting == 0
        assert len(parser.calls) == 10

    asyncio.run(check())


def test_clients_that_come_and_go_do_not_keep_one_waiting_forever() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push(-1, HEAVY, 0, False, 40)
    taken = []
    for number in range(100):
        queue.push(number, Client(str(number)), number, False, 1)
        taken.append(queue.take())
    assert -1 in taken


def test_one_request_at_a_time_is_charged_after_it_was_answered() -> None:
    queue: FairQueue[str] = FairQueue()
    taken = []
    for number in range(200):
        queue.push(f"light {number}", LIGHT, number, False, 1)
        if "heavy" not in queue._entries:
            queue.push("heavy", HEAVY, number, False, 40)
        taken.append(queue.take())
    assert 2 <= taken.count("heavy") <= 5


def test_abandoned_work_is_charged_up_to_a_maximum() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):
        queue.fine(HEAVY, 40, later=False)
    taken = []
    for number in range(2 * MAX_FINE):
        queue.push(f"light {number}", LIGHT, number, False, 1)
        if number == 0:
            queue.push("heavy", HEAVY, number, False, 1)
        taken.append(queue.take())
    assert MAX_FINE - 5 <= taken.index("heavy") <= MAX_FINE + 5


def test_a_request_that_its_client_abandons_is_charged() -> None:
    parser = FakeParser(Clock())

    async def check() -> None:
        with queue_of(parser) as queue:
            blocker = await blocked(queue, parser)
            for abandoned in await sent(queue, HEAVY, *[["abandoned"] * PART_TEXTS] * 3):
                abandoned.cancel()
                await asyncio.gather(abandoned, return_exceptions=True)
            tasks = await sent(queue, HEAVY, ["heavy"])
            tasks += await sent(queue, LIGHT, *[["light"]] * 2 * PART_TEXTS)
            parser.gate.set()
            await asyncio.gather(blocker, *tasks)
        assert order(parser) == ["light"] * 2 * PART_TEXTS + ["heavy"]

    asyncio.run(check())


def test_members_without_work_are_forgotten() -> None:
    turns = _Turns()
    for number in range(10 * MAX_IDLE_MEMBERS):
        turns.join(str(number))
        turns.charge(str(number), 1)
    assert len(turns._times) <= MAX_IDLE_MEMBERS + 2


clients = st.builds(Client, st.sampled_from("abc"), st.sampled_from(["", "x", "y"]))
steps = st.one_of(
    st.tuples(st.just("push"), clients, st.booleans(), st.integers(1, 50), st.integers(0, 50)),
    st.tuples(st.just("take")),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("displace"), clients, st.integers(0, 60), st.booleans()),
)


@given(st.lists(steps, max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_all_work_leaves_the_queue_once_and_pages_are_counted(steps: list[tuple[object, ...]]) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting: dict[int, tuple[int, int]] = {}
    for number, step in enumerate(steps):
        match step:
            case "push", Client() as client, bool() as later, int() as turn, int() as rest:
                queue.push(number, client, number, later, turn, rest)
                waiting[number] = (0, turn + rest) if later else (turn, rest)
            case ("take",):
                work = queue.take()
                assert (work is None) == (not waiting)
                waiting.pop(work, None)  # type: ignore[arg-type]
            case "remove", int() as work:
                queue.remove(work)
                waiting.pop(work, None)
            case "displace", Client() as client, int() as pages, bool() as later:
                work = queue.displaceable(client, pages, later)
                assert work is None or waiting[work][later] > 0
        assert len(queue) == len(waiting)
        assert queue.pages == [sum(pages) for pages in zip(*waiting.values(), strict=True)] or not waiting
    while (work := queue.take()) is not None:
        del waiting[work]
    assert not waiting
    assert queue.pages == [0, 0]
    assert not any(queue._address_pages + queue._client_pages)


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("192.0.2.1", "", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.0/24", "203.0.113.9"),
        # The first entries come from the client itself.
        ("192.0.2.1", "10.9.9.9, 203.0.113.9", "192.0.2.0/24", "203.0.113.9"),
        ("192.0.2.1", "203.0.113.9, 198.51.100.2", "192.0.2.1, 198.51.100.0/24", "203.0.113.9"),
        ("192.0.2.1", "203.0.113.9:4711", "192.0.2.1", "203.0.113.9"),
        ("192.0.2.1", "unknown", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "", "192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "", "", "2001:db8::/64"),
        ("[2001:db8::2:3]:80", "", "", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "", "", "192.0.2.1"),
        ("", "203.0.113.9", "192.0.2.1", ""),
    ],
)
def test_forwarded_addresses_count_behind_trusted_proxies_only(
    peer: str, forwarded: str, proxies: str, address: str
) -> None:
    assert identity(proxies).identify(peer, "", forwarded) == Client(address)


def test_credentials_are_kept_as_digests() -> None:
    first, second = (identity().identify("192.0.2.1", f"Bearer secret-{number}", "") for number in range(2))
    assert first.credential != second.credential
    assert "secret" not in first.credential


@pytest.mark.parametrize("peer", ["ipv4:192.0.2.1:4711", "ipv6:%5B::ffff:192.0.2.1%5D:80"])
def test_a_grpc_call_has_the_client_of_its_peer_and_metadata(peer: str) -> None:
    metadata = [("authorization", "Bearer a"), ("x-forwarded-for", "203.0.113.9"), ("some-bin", b"\x00")]
    context = SimpleNamespace(peer=lambda: peer, invocation_metadata=lambda: metadata)
    with identity("192.0.2.1").of_grpc(context):
        assert current_client() == identity().identify("203.0.113.9", "Bearer a", "")
    assert current_client() == Client()


def test_an_invalid_proxy_is_refused() -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies="192.0.2.1, proxy.example")

"""Limits: the budget of bytes, the log, and permission to manage models."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from reviews_parsing.errors import RequestRefused
from reviews_parsing.serving.body import CHUNK_BYTES, FREE_BYTES, decompress, read_body
from reviews_parsing.serving.limits import ByteBudget, LimitLog
from reviews_parsing.serving.model_control import ModelControl
from reviews_parsing.settings import Settings

ENCODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}
LIMIT = 10_000_000


def no_reservation(size: int) -> None:
    """Accept any number of bytes."""


def test_bytes_are_reserved_until_the_request_ends() -> None:
    budget = ByteBudget(100)
    with budget.reservation() as first:
        first(60)
        with budget.reservation() as second, pytest.raises(RequestRefused, match="later") as refused:
            second(41)
        assert refused.value.status == 503
        with budget.reservation() as third:
            third(40)
    with budget.reservation() as fourth:
        fourth(100)


def test_a_limit_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = LimitLog(lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0):
        log.record("max_connections")
    assert len(caplog.messages) == 1
    assert "REVIEWS_PARSING_MAX_CONNECTIONS (768) was reached 1 times" in caplog.messages[0]
    now[0] = 61.0
    log.record("max_connections")
    log.record("body_seconds")
    assert "reached 3 times" in caplog.messages[1]
    assert "REVIEWS_PARSING_BODY_SECONDS" in caplog.messages[2]


@given(st.binary(max_size=2000), st.integers(0, 100), st.sampled_from(sorted(ENCODERS)))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_bodies_come_out_as_they_went_in(block: bytes, times: int, encoding: str) -> None:
    body = block * times
    assert decompress(ENCODERS[encoding](body), encoding, LIMIT) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES])
def test_the_end_of_a_compressed_body_is_checked(encoding: str, size: int) -> None:
    body = ENCODERS[encoding](bytes(range(256)) * (size // 256) + bytes(size % 256))
    assert len(decompress(body, encoding, LIMIT)) == size
    for damaged, phrase in ((body[:-1], "ends before"), (body + b"x", "continues after"), (b"plain", "is not")):
        with pytest.raises(RequestRefused, match=phrase):
            decompress(damaged, encoding, LIMIT)


@pytest.mark.parametrize("encode", ENCODERS.items(), ids=lambda item: item[0])
def test_decompression_stops_at_the_limit(encode: tuple[str, Callable[[bytes], bytes]]) -> None:
    encoding, compress = encode
    body = compress(b'"' + b"ab" * 400_000)
    assert read_body(body, encoding, LIMIT, 10, None, no_reservation)
    with pytest.raises(RequestRefused, match="larger than 500000 bytes") as refused:
        read_body(body, encoding, 500_000, 10, None, no_reservation)
    assert refused.value.status == 413


def test_a_body_that_decompresses_to_far_more_than_its_size_is_refused() -> None:
    body = gzip.compress(b'"' + b"x" * (2 * FREE_BYTES))
    with pytest.raises(RequestRefused, match="100 times"):
        read_body(body, "gzip", LIMIT, 10, None, no_reservation)


def test_decompressed_bytes_are_reserved() -> None:
    budget = ByteBudget(300_000)
    body = gzip.compress(b'"' + b"x" * 500_000)
    with budget.reservation() as reserve, pytest.raises(RequestRefused, match="later"):
        read_body(body, "gzip", LIMIT, 10, None, reserve)


@pytest.mark.parametrize(
    ("token", "authorization", "status"),
    [
        (None, None, 403),
        (None, "Bearer ", 403),
        ("0123456789abcdef", None, 401),
        ("0123456789abcdef", "Bearer ", 401),
        ("0123456789abcdef", "bearer 0123456789abcdef", 401),
        ("0123456789abcdef", "Bearer 0123456789abcdef", None),
    ],
)
def test_models_are_managed_with_the_token_alone(
    token: str | None, authorization: str | None, status: int | None
) -> None:
    control = ModelControl(Settings(model_control=SecretStr(token) if token else None))
    if status is None:
        control.check(authorization)
        return
    with pytest.raises(RequestRefused) as refused:
        control.check(authorization)
    assert refused.value.status == status

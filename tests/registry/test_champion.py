"""Promotion is a compare-and-set, and a process that is killed in the middle leaves nothing half done."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reviews_parsing import ModelError, registry
from reviews_parsing.errors import ChampionChanged
from reviews_parsing.registry.champion import GENERATION_TAG, HISTORY_TAG, read_champion
from reviews_parsing.settings import CHAMPION

from .kills import Killed, kill_at

NAME = "some-model"


@pytest.fixture(params=["sqlite", "postgresql", "server"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each kind of store: the local file, a database, and a server on a database."""
    fixture = {"postgresql": "postgres", "server": "mlflow_server"}.get(request.param)
    if fixture:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue(fixture))
    yield
    with registry.tracking() as client:
        for model in client.search_registered_models():
            client.delete_registered_model(model.name)


def make_versions(count: int) -> list[str]:
    """Return registered versions without files, each of a run of its own."""
    with registry.tracking() as client:
        client.create_registered_model(NAME)
        experiment = client.get_experiment_by_name(NAME)
        number = experiment.experiment_id if experiment else client.create_experiment(NAME)
        return [
            str(client.create_model_version(NAME, "s3://bucket/model", client.create_run(number).info.run_id).version)
            for _ in range(count)
        ]


def consistent(champion: str) -> bool:
    """Return whether the alias, and the tags from which it can be repaired, name `champion`."""
    with registry.tracking() as client:
        tags = client.get_registered_model(NAME).tags
        alias = str(client.get_model_version_by_alias(NAME, CHAMPION).version)
    state = read_champion(NAME)
    return (alias, state.version, tuple(json.loads(tags[HISTORY_TAG])), int(tags[GENERATION_TAG])) == (
        champion,
        champion,
        state.history,
        state.generation,
    )


def test_a_version_that_was_rolled_back_is_not_offered_again(store: None) -> None:
    make_versions(2)
    registry.set_champion("1", {}, NAME)
    assert registry.challenger(NAME) == "2"
    registry.set_champion("2", {}, NAME)
    registry.rollback(NAME)
    assert registry.challenger(NAME) is None
    assert read_champion(NAME).rolled_back == ("2",)
    # A person may decide otherwise; a newer version is another one.
    registry.set_champion("2", {}, NAME)
    assert read_champion(NAME).rolled_back == ()
    registry.rollback(NAME)
    with registry.tracking() as client:
        client.create_model_version(NAME, "s3://bucket/model", registry.versions(NAME)[0].run_id)
    assert registry.challenger(NAME) == "3"


def test_promotion_and_rollback_keep_the_history(store: None) -> None:
    versions = make_versions(3)
    for version in versions:
        registry.set_champion(version, {"gate": "a reason"}, NAME)
        assert consistent(version)
    assert registry.set_champion("3", {}, NAME) == "3"
    assert registry.rollback(NAME) == ("3", "2")
    assert registry.rollback(NAME) == ("2", "1")
    with pytest.raises(ModelError, match="no champion before this one"):
        registry.rollback(NAME)
    assert consistent("1")


@pytest.mark.parametrize("count", [2, 10, 50])
def test_of_promotions_at_once_one_wins(store: None, count: int) -> None:
    first, *challengers = make_versions(1 + min(count, 10))
    registry.set_champion(first, {}, NAME)
    state = read_champion(NAME)
    ready = threading.Barrier(count)
    outcomes: list[str] = []
    errors: list[BaseException] = []

    def promote(version: str) -> None:
        try:
            ready.wait(60)
            registry.set_champion(version, {}, NAME, expected=state)
            outcomes.append(version)
        except ChampionChanged:
            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=promote, args=(challengers[n % len(challengers)],)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    [winner] = outcomes
    assert consistent(winner)
    assert registry.rollback(NAME) == (winner, first)


def champions_after_kills(change: Callable[[], object], after: bool) -> Iterator[str | None]:
    """Kill `change` at each of its writes in turn, before or after it; yield the champion that is left each time."""
    for number in range(1, 20):
        with pytest.MonkeyPatch.context() as patch:
            writes = kill_at(patch, number, after=after)
            with contextlib.suppress(Killed):
                change()
            if writes() < number:
                return
        champion = registry.champion(NAME)
        assert consistent(champion or "")
        yield champion


@pytest.mark.parametrize("after", [False, True])
def test_a_promotion_that_is_killed_anywhere_happened_or_did_not(after: bool) -> None:
    make_versions(3)
    registry.set_champion("1", {}, NAME)
    registry.set_champion("2", {}, NAME)

    def promote() -> None:
        registry.set_champion("3", {"gate": "a reason"}, NAME, expected=read_champion(NAME))

    ends = []
    for champion in champions_after_kills(promote, after):
        ends.append(champion)
        # Rollback and promotion do what they say.
        if champion == "3":
            assert registry.rollback(NAME) == ("3", "2")
        assert read_champion(NAME).history == ("1",)
        assert consistent("2")
    assert len(ends) >= 5
    assert {"2", "3"} == set(ends)


@pytest.mark.parametrize("after", [False, True])
def test_a_rollback_that_is_killed_anywhere_happened_or_did_not(after: bool) -> None:
    make_versions(2)
    registry.set_champion("1", {}, NAME)
    registry.set_champion("2", {}, NAME)
    ends = []
    for champion in champions_after_kills(lambda: registry.rollback(NAME), after):
        ends.append(champion)
        if champion == "1":
            registry.set_champion("2", {}, NAME)
        assert (read_champion(NAME).version, read_champion(NAME).history) == ("2", ("1",))
    # A rollback begins with the write that decides.
    assert set(ends) == ({"1"} if after else {"1", "2"})


def test_an_alias_set_by_hand_is_respected() -> None:
    make_versions(3)
    registry.set_champion("1", {}, NAME)
    registry.set_champion("2", {}, NAME)
    with registry.tracking() as client:
        client.set_registered_model_alias(NAME, CHAMPION, "3")
    assert registry.champion(NAME) == "3"
    assert registry.rollback(NAME) == ("3", "2")
    assert consistent("2")


def test_a_champion_of_an_earlier_release_keeps_its_history() -> None:
    """Before the log there were the alias and one tag with the former champions."""
    make_versions(3)
    with registry.tracking() as client:
        client.set_registered_model_alias(NAME, CHAMPION, "2")
        client.set_registered_model_tag(NAME, HISTORY_TAG, '["1"]')
    assert (read_champion(NAME).version, read_champion(NAME).history) == ("2", ("1",))
    registry.set_champion("3", {}, NAME)
    assert registry.rollback(NAME) == ("3", "2")
    assert registry.rollback(NAME) == ("2", "1")


def test_a_challenger_of_another_champion_is_refused() -> None:
    make_versions(3)
    registry.set_champion("1", {}, NAME)
    state = read_champion(NAME)
    registry.set_champion("2", {}, NAME)
    registry.rollback(NAME)
    # Version 1 is champion again, but it is another moment: somebody decided against version 2.
    with pytest.raises(ChampionChanged, match="version 3 is not promoted: it was compared with version 1"):
        registry.set_champion("3", {}, NAME, expected=state)
    assert consistent("1")

"""The champion of a registered model: compare-and-set promotion and rollback over a write-once log.

An entry of the log holds the new champion and the history for `rollback`. The alias and the tags of the registered
model are derived from the newest entry; if a process is killed in between, the next look at the champion repairs them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reviews_parsing.errors import ChampionChanged, ModelError, NoSuchAlias
from reviews_parsing.registry.log import LOG_RUN_TAG, WriteOnceLog, choose_log_run
from reviews_parsing.registry.resolution import ModelReference, resolve_with_client
from reviews_parsing.registry.store import tracking
from reviews_parsing.registry.versions import MAX_TAG_CHARACTERS, versions
from reviews_parsing.settings import CHAMPION, Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG_PREFIX = "champion"
GENERATION_TAG, HISTORY_TAG = "champion_generation", "champions_before"
"""Tags of the registered model: the number of the entry that the alias shows, and the history."""
MAX_HISTORY = 100


@dataclass(frozen=True, slots=True)
class ChampionState:
    """The champion at one moment: its version, the number of its log entry, and its predecessors, oldest first.

    `rolled_back` are versions that were champion until a rollback, and have not been promoted since.
    """

    version: str | None
    generation: int
    history: tuple[str, ...]
    rolled_back: tuple[str, ...] = ()


def champion(name: str | None = None) -> str | None:
    """Return the version that is champion, None without a champion."""
    return read_champion(name).version


def read_champion(name: str | None = None) -> ChampionState:
    """Return the state of the champion, and repair the alias if a promotion was killed before it was set."""
    with tracking() as client:
        return _read(client, name or Settings().model_name)


def challenger(name: str | None = None) -> str | None:
    """Return the newest version if it is newer than the champion, else None: there is nothing to decide.

    A version that was rolled back is not offered again.
    """
    newest = next(iter(versions(name)), None)
    state = read_champion(name)
    if newest is None or newest.version in state.rolled_back or int(newest.version) <= int(state.version or 0):
        return None
    return newest.version


def set_champion(
    version: str, tags: Mapping[str, str], name: str | None = None, expected: ChampionState | None = None
) -> str | None:
    """Make `version` the champion, tag it with the reason, and return its predecessor.

    With `expected`, the state that the version was evaluated against, this is a compare-and-set. Raises ModelError if
    there is no such version, ChampionChanged if another promotion or rollback came first.
    """
    name = name or Settings().model_name
    with tracking() as client:
        client.get_model_version(name, version)
        state = _read(client, name)
        if expected is not None and state != expected:
            raise _changed(version, expected, state)
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value[:MAX_TAG_CHARACTERS])
        if state.version != version:
            history = state.history if state.version is None else (*state.history, state.version)
            rolled_back = tuple(v for v in state.rolled_back if v != version)
            new = ChampionState(version, state.generation + 1, history[-MAX_HISTORY:], rolled_back)
            _commit(client, name, state, new)
        return state.version


def rollback(name: str | None = None) -> tuple[str, str]:
    """Return to the previous champion; returns (former version, present version).

    Raises ModelError if there is no previous champion, ChampionChanged if a promotion came first.
    """
    name = name or Settings().model_name
    with tracking() as client:
        state = _read(client, name)
        if state.version is None or not state.history:
            raise ModelError("there is no champion before this one to return to; see `reviews-parsing models`")
        previous = state.history[-1]
        client.get_model_version(name, previous)
        rolled_back = (*(v for v in state.rolled_back if v not in (state.version, previous)), state.version)
        new = ChampionState(previous, state.generation + 1, state.history[:-1], rolled_back[-MAX_HISTORY:])
        _commit(client, name, state, new)
        return state.version, previous


def _read(client: MlflowClient, name: str) -> ChampionState:
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return ChampionState(None, 0, ())
        raise
    alias = _alias(client, name)
    stored_generation = int(model.tags.get(GENERATION_TAG, 0))
    newest = _newest(client, model.tags.get(LOG_RUN_TAG))
    if newest is None:
        return ChampionState(alias, stored_generation, tuple(json.loads(model.tags.get(HISTORY_TAG, "[]"))))
    if newest.generation > stored_generation:
        with suppress(MlflowException):  # a reader may lack the right to write; the log is the truth
            _show(client, name, newest)
        return newest
    if alias == newest.version:
        return newest
    # Somebody set the alias by hand since.
    history = newest.history if newest.version is None else (*newest.history, newest.version)
    return ChampionState(
        alias,
        max(stored_generation, newest.generation),
        tuple(v for v in history if v != alias),
        tuple(v for v in newest.rolled_back if v != alias),
    )


def _alias(client: MlflowClient, name: str) -> str | None:
    try:
        return resolve_with_client(client, ModelReference(name, CHAMPION, None)).version
    except NoSuchAlias:
        return None


def _newest(client: MlflowClient, run_id: str | None) -> ChampionState | None:
    entry = WriteOnceLog(client, run_id, LOG_PREFIX).newest() if run_id else None
    if entry is None:
        return None
    document = entry.document
    return ChampionState(
        document["version"], entry.number, tuple(document["history"]), tuple(document.get("rolled_back", ()))
    )


def _commit(client: MlflowClient, name: str, state: ChampionState, new: ChampionState) -> None:
    """Write the next entry of the log, then show it. Raises ChampionChanged if another process wrote that entry."""
    run_id = choose_log_run(client, name)
    document = {"version": new.version, "history": new.history, "rolled_back": new.rolled_back}
    if not WriteOnceLog(client, run_id, LOG_PREFIX).append(new.generation, document):
        raise _changed(new.version or "", state, _read(client, name))
    _show(client, name, new)
    # A process that was stopped for long may have shown an entry that is no longer the newest.
    newest = _newest(client, run_id)
    if newest is not None and newest.generation > new.generation:
        _show(client, name, newest)


def _show(client: MlflowClient, name: str, state: ChampionState) -> None:
    """Derive alias and tags from an entry. Idempotent; the generation comes last and tells that nothing is missing."""
    client.set_registered_model_alias(name, CHAMPION, state.version)
    client.set_registered_model_tag(name, HISTORY_TAG, json.dumps(state.history))
    client.set_registered_model_tag(name, GENERATION_TAG, str(state.generation))


def _changed(version: str, expected: ChampionState, state: ChampionState) -> ChampionChanged:
    expected_champion = f"version {expected.version}" if expected.version else "no champion"
    now = f"version {state.version}" if state.version else "gone"
    return ChampionChanged(
        f"version {version} is not promoted: it was compared with {expected_champion}, but the champion is now {now}; "
        "promote again to compare with that"
    )

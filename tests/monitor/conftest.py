"""The profile of the default model, and traffic in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reviews_parsing.monitor import Profile, write
from reviews_parsing.monitor.numbers import Numbers

Keep = Callable[..., Path]


@pytest.fixture(scope="session")
def profile(champion_folder: Path) -> Profile:
    return Profile.read(champion_folder)


@pytest.fixture
def keep(profile: Profile, tmp_path: Path) -> Keep:
    """keep(numbers, minutes_ago=0, version="1", profile=...): the folder, with these reviews seen then."""

    def kept(numbers: Numbers, minutes_ago: int = 0, version: str = "1", profile: Profile = profile) -> Path:
        minutes = np.full(len(numbers), int(time.time()) // 60 - minutes_ago)
        write(tmp_path / "traffic", profile, version, minutes, numbers, keep=9)
        return tmp_path / "traffic"

    return kept

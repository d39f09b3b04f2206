"""The profile of the default model, and a folder of traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reviews_parsing.monitor import Features, Profile, write_traffic

WriteTraffic = Callable[..., Path]


@pytest.fixture(scope="session")
def profile(champion_folder: Path) -> Profile:
    return Profile.read(champion_folder)


@pytest.fixture
def write_folder(profile: Profile, tmp_path: Path) -> WriteTraffic:
    """Return a function that adds a traffic file and returns the folder."""

    def write(features: Features, minutes_ago: int = 0, version: str = "1", profile: Profile = profile) -> Path:
        minutes = np.full(len(features), int(time.time()) // 60 - minutes_ago)
        write_traffic(tmp_path / "traffic", profile, version, minutes, features, max_files=9)
        return tmp_path / "traffic"

    return write

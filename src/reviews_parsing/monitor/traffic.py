"""Traffic files: rows of features with the minute of the request, without texts.

Each server writes a file every few minutes under a unique name, so several servers can share a folder.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reviews_parsing.errors import DataError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.monitor.features import Features
from reviews_parsing.monitor.profile import Profile, from_parquet, from_table, to_parquet, to_table

FILE_PATTERN, TIME_FORMAT = "traffic-*.parquet", "%Y%m%dT%H%M%SZ"
FORMAT_VERSION = 1
MINUTE_SECONDS = 60


@dataclass(frozen=True)
class TrafficWindow:
    """Features of the reviews, [reviews, features], that `versions` of a model parsed from `begin` to `end`."""

    features: Features
    begin: datetime
    end: datetime
    versions: tuple[str, ...]


def write_traffic(
    folder: Path,
    profile: Profile,
    version: str,
    minutes: npt.NDArray[np.int64],
    features: Features,
    max_files: int,
) -> None:
    """Add a file to `folder` and delete the oldest files above `max_files`. `minutes` [n] count since the epoch.

    Raises DataError if that fails.
    """
    import pyarrow as pa

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be created ({error.strerror}); set REVIEWS_PARSING_TRAFFIC") from error
    times = pa.array(minutes * MINUTE_SECONDS * 1000, pa.timestamp("ms", tz="UTC"))
    metadata = {"format": FORMAT_VERSION, "version": version, "profile": profile.digest}
    name = FILE_PATTERN.replace("*", f"{datetime.now(UTC).strftime(TIME_FORMAT)}-{secrets.token_hex(4)}")
    write_bytes(folder / name, to_parquet(to_table(profile.extractor.names, features, at=times), metadata))
    for path in sorted(folder.glob(FILE_PATTERN))[:-max_files]:
        # Another server that writes to the folder may have deleted it.
        path.unlink(missing_ok=True)


def read_traffic(folder: Path, profile: Profile, since: timedelta | None = None) -> TrafficWindow:
    """Read the traffic of the profile's model, of the last `since` or all.

    Raises DataError if the folder or a file cannot be read, or has no traffic of this model in that time.
    """
    begin = datetime.now(UTC) - since if since else datetime.fromtimestamp(0, UTC)
    features: list[Features] = []
    times: list[npt.NDArray[np.int64]] = []
    versions: Counter[str] = Counter()
    foreign_versions: Counter[str] = Counter()
    for file in _list_files(folder):
        if file.name.split("-")[1] < begin.strftime(TIME_FORMAT):
            continue
        try:
            table, metadata = from_parquet(file.read_bytes())
            seconds = table.column("at").cast("int64").to_numpy() // 1000
            # The minute of a row may have begun before the window.
            in_window = seconds > begin.timestamp() - MINUTE_SECONDS
            if metadata["profile"] != profile.digest:
                foreign_versions[metadata["version"]] += int(in_window.sum())
                continue
            features.append(from_table(table, profile.extractor.names)[in_window])
        except FileNotFoundError:  # deleted by a server meanwhile
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} is not a traffic file ({type(error).__name__}); remove it, or give another folder"
            ) from error
        times.append(seconds[in_window])
        versions[metadata["version"]] += int(in_window.sum())
    if not versions.total():
        raise DataError(_describe_no_traffic(folder, foreign_versions, since))
    all_times = np.concatenate(times)
    first, last = (datetime.fromtimestamp(int(seconds), UTC) for seconds in (all_times.min(), all_times.max()))
    end = last + timedelta(seconds=MINUTE_SECONDS)
    return TrafficWindow(np.concatenate(features), first, end, tuple(sorted(+versions)))


def _list_files(folder: Path) -> list[Path]:
    advice = "give the folder that REVIEWS_PARSING_TRAFFIC names on the server"
    if not folder.is_dir():
        raise DataError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}; {advice}")
    try:
        files = sorted(path for path in folder.iterdir() if path.match(FILE_PATTERN))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); {advice}") from error
    if not files:
        raise DataError(f"{folder} holds no traffic; {advice}, and wait five minutes after the first requests")
    return files


def _describe_no_traffic(folder: Path, foreign_versions: Counter[str], since: timedelta | None) -> str:
    if foreign_versions.total():
        names = ", ".join(sorted(+foreign_versions))
        return f"the traffic in {folder} is of another model (version {names}); name that model with --model"
    return f"no traffic in the last {since} in {folder}; give a longer time with --since"

"""Files of what a server saw: rows of numbers with the minute they were seen in, and never a text.

A server writes a file every few minutes under a name of its own, so several may share a folder; of a window the rows of
all are taken together.
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
from reviews_parsing.monitor.numbers import Numbers
from reviews_parsing.monitor.profile import Profile, from_parquet, to_numbers, to_parquet, to_table

PATTERN, STAMP = "traffic-*.parquet", "%Y%m%dT%H%M%SZ"
FORMAT, MINUTE = 1, 60


@dataclass(frozen=True)
class Window:
    """`numbers` [reviews, names of the profile's gauge], seen between `begin` and `end` by `versions` of the model."""

    numbers: Numbers
    begin: datetime
    end: datetime
    versions: tuple[str, ...]


def write(
    folder: Path,
    profile: Profile,
    version: str,
    minutes: npt.NDArray[np.int64],
    numbers: Numbers,
    keep: int,
) -> None:
    """One more file in `folder`; of all there, the newest `keep` stay. `minutes` [n] count since the epoch.

    Raises DataError where that fails.
    """
    import pyarrow as pa

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}); set REVIEWS_PARSING_TRAFFIC") from error
    at = pa.array(minutes * MINUTE * 1000, pa.timestamp("ms", tz="UTC"))
    about = {"format": FORMAT, "version": version, "profile": profile.digest}
    name = PATTERN.replace("*", f"{datetime.now(UTC).strftime(STAMP)}-{secrets.token_hex(4)}")
    write_bytes(folder / name, to_parquet(to_table(profile.gauge.names, numbers, at=at), about))
    for old in sorted(folder.glob(PATTERN))[:-keep]:
        # Another server that writes here may have been faster.
        old.unlink(missing_ok=True)


def read(folder: Path, profile: Profile, since: timedelta | None = None) -> Window:
    """What was seen in `folder` lately, or ever, by the model that `profile` is of.

    Raises DataError where the folder or a file of it cannot be read, there was no traffic, or only another model's.
    """
    files = _files(folder)
    begin = datetime.now(UTC) - since if since else datetime.fromtimestamp(0, UTC)
    found: list[Numbers] = []
    minutes: list[npt.NDArray[np.int64]] = []
    versions: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for file in files:
        if file.name.split("-")[1] < begin.strftime(STAMP):
            continue
        try:
            table, about = from_parquet(file.read_bytes())
            # A row's minute may have begun before the window did.
            at = table.column("at").cast("int64").to_numpy() // 1000
            lately = at > begin.timestamp() - MINUTE
            if about["profile"] != profile.digest:
                others[about["version"]] += int(lately.sum())
                continue
            found.append(to_numbers(table, profile.gauge.names)[lately])
        except FileNotFoundError:  # the server has just removed it
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} is no file of traffic ({type(error).__name__}); remove it, or give its folder"
            ) from error
        minutes.append(at[lately])
        versions[about["version"]] += int(lately.sum())
    if not versions.total():
        raise DataError(_nothing(folder, others, since))
    seen = np.concatenate(minutes)
    first, last = (datetime.fromtimestamp(int(seconds), UTC) for seconds in (seen.min(), seen.max()))
    return Window(np.concatenate(found), first, last + timedelta(seconds=MINUTE), tuple(sorted(+versions)))


def _files(folder: Path) -> list[Path]:
    advice = "give the folder that REVIEWS_PARSING_TRAFFIC names on the server"
    if not folder.is_dir():
        raise DataError(f"{folder} {'is no folder' if folder.exists() else 'does not exist'}; {advice}")
    try:
        files = sorted(path for path in folder.iterdir() if path.match(PATTERN))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); {advice}") from error
    if not files:
        raise DataError(f"{folder} holds no traffic; {advice}, and wait five minutes after the first requests")
    return files


def _nothing(folder: Path, others: Counter[str], since: timedelta | None) -> str:
    if others.total():
        theirs = ", ".join(sorted(+others))
        return f"the traffic in {folder} is of another model (version {theirs}); name that one with --model"
    return f"no review was seen in the last {since} ({folder}); look further back with --since"

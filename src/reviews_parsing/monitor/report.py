"""A page of every number's distribution, in training and in the window, by Evidently; it needs no network."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reviews_parsing.errors import DataError
from reviews_parsing.monitor.compare import Comparison, is_share
from reviews_parsing.monitor.numbers import Numbers

if TYPE_CHECKING:
    import pandas as pd

# What a plot needs, and no more.
MOST = 20_000
METHOD = "reviews_parsing"


def write_report(
    path: Path,
    names: Sequence[str],
    profile: Numbers,
    window: Numbers,
    comparison: Comparison,
) -> None:
    """Write `path` (HTML). What drifted there is what drifted in `comparison`. Raises DataError where that fails."""
    from reviews_parsing.io.files import write_bytes

    # It would tell its makers how it is used.
    os.environ["DO_NOT_TRACK"] = os.environ["EVIDENTLY_DISABLE_TELEMETRY"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            from evidently import DataDefinition, Dataset, Report  # type: ignore[import-untyped]
            from evidently.presets import DataDriftPreset  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise DataError(f"a report needs Evidently ({error}); pip install 'reviews-parsing[monitor]'") from error
    tested = [change.number for change in comparison.changes]
    shares = [name for name in tested if is_share(name)]
    definition = DataDefinition(
        numerical_columns=[name for name in tested if name not in shares], categorical_columns=shares
    )
    current, reference = (
        Dataset.from_pandas(_frame(names, tested, rows), data_definition=definition) for rows in (window, profile)
    )
    preset = DataDriftPreset(columns=tested, method=_registered(comparison), drift_share=min(0.01, 1 / len(tested)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        page = Report([preset]).run(current, reference).get_html_str(as_iframe=False)
    write_bytes(path, page.encode())


def _registered(comparison: Comparison) -> str:
    """The name of what Evidently takes for a test of its own, and answers what we have found."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest  # type: ignore[import-untyped]
    from evidently.legacy.core import ColumnType  # type: ignore[import-untyped]

    found = {change.number: (change.distance, change.drifted) for change in comparison.changes}
    test = StatTest(
        name=METHOD,
        display_name="least share of reviews that differ",
        allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
        default_threshold=comparison.effect,
    )
    register_stattest(test, lambda reference, current, kind, threshold: found[str(current.name)])
    return METHOD


def _frame(names: Sequence[str], wanted: Sequence[str], rows: Numbers) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows[:: -(-len(rows) // MOST)].astype(float), columns=list(names))[list(wanted)]
    for name in filter(is_share, wanted):
        frame[name] = np.where(frame[name] > 0, "yes", "no")
    return frame

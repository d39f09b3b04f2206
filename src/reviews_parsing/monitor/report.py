"""Drift report by Evidently: the distribution of every feature in profile and window, in one HTML file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import DataError
from reviews_parsing.io.files import write_bytes
from reviews_parsing.monitor.drift import DriftResult
from reviews_parsing.monitor.features import Features, is_binary

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 20_000
"""More rows would not change the plots."""
TEST_NAME = "reviews_parsing"


def write_report(path: Path, names: Sequence[str], profile: Features, window: Features, result: DriftResult) -> None:
    """Write the report (HTML) with the decisions of `result`. Raises DataError if that fails."""
    # Disable usage telemetry.
    os.environ["DO_NOT_TRACK"] = os.environ["EVIDENTLY_DISABLE_TELEMETRY"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from its dependencies
            from evidently import DataDefinition, Dataset, Report  # type: ignore[import-untyped]
            from evidently.presets import DataDriftPreset  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise DataError(f"a report needs Evidently ({error}); pip install 'reviews-parsing[monitor]'") from error
    tested = [feature.feature for feature in result.features]
    binary = [name for name in tested if is_binary(name)]
    definition = DataDefinition(
        numerical_columns=[name for name in tested if name not in binary], categorical_columns=binary
    )
    current, reference = (
        Dataset.from_pandas(_to_frame(names, tested, rows), data_definition=definition) for rows in (window, profile)
    )
    _register_test(result)
    preset = DataDriftPreset(columns=tested, method=TEST_NAME, drift_share=min(0.01, 1 / len(tested)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        page = Report([preset]).run(current, reference).get_html_str(as_iframe=False)
    write_bytes(path, page.encode())


def _register_test(result: DriftResult) -> None:
    """Register a test with Evidently that returns the results that `detect_drift` computed."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest  # type: ignore[import-untyped]
    from evidently.legacy.core import ColumnType  # type: ignore[import-untyped]

    decisions = {feature.feature: (feature.distance, feature.drifted) for feature in result.features}
    test = StatTest(
        name=TEST_NAME,
        display_name="share of reviews that changed, at least",
        allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
        default_threshold=result.min_effect,
    )
    register_stattest(test, lambda reference, current, kind, threshold: decisions[str(current.name)])


def _to_frame(names: Sequence[str], columns: Sequence[str], rows: Features) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows[:: -(-len(rows) // MAX_ROWS)].astype(float), columns=list(names))[list(columns)]
    for name in filter(is_binary, columns):
        frame[name] = frame[name].map({1.0: "yes", 0.0: "no"})
    return frame

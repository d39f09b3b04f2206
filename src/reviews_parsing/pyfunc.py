"""The parser as an MLflow pyfunc. This file is stored with each model as its code, in place of a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from reviews_parsing.parser import AspectParser
from reviews_parsing.registry.store import MODEL_FOLDER

TEXT_COLUMN = "text"


class AspectModel(PythonModel):  # type: ignore[misc]
    """Model whose `predict(texts)` returns one list of aspects for each text, in their JSON form."""

    def load_context(self, context: Any) -> None:
        """Load the model folder of the artifact."""
        self.parser = AspectParser(Path(context.artifacts[MODEL_FOLDER]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return the aspects of each text in a list, or in the column `text` of a table.

        Raises ValueError if a table has another column. MLflow passes on the first column of a larger table only.
        """
        texts = _texts(model_input) if isinstance(model_input, pd.DataFrame) else model_input
        return [parsed.to_json() for parsed in self.parser.parse(list(texts), **(params or {}))]


def _texts(table: pd.DataFrame) -> pd.Series:
    if TEXT_COLUMN in table.columns:
        return table[TEXT_COLUMN]
    names: list[object] = list(table.columns)
    # MLflow makes a table of a list; its column has a number instead of a name.
    if len(names) == 1 and not isinstance(names[0], str):
        return table.iloc[:, 0]
    raise ValueError(
        f"the column '{names[0]}' of the table is not '{TEXT_COLUMN}'; pass a list of texts, or a table with "
        f"the single column '{TEXT_COLUMN}'"
    )


mlflow.models.set_model(AspectModel())

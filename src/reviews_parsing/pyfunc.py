"""The parser as an MLflow pyfunc. This file is stored with each model as its code, in place of a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from reviews_parsing.parser import AspectParser
from reviews_parsing.registry.store import MODEL_FOLDER


class AspectModel(PythonModel):  # type: ignore[misc]
    """`predict(texts)` returns one list of aspects for each text, in the JSON form of the whole system."""

    def load_context(self, context: Any) -> None:
        self.parser = AspectParser(Path(context.artifacts[MODEL_FOLDER]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """The aspects of each text; a list comes as it is, anything else as a table of one column."""
        texts = model_input.iloc[:, 0] if isinstance(model_input, pd.DataFrame) else model_input
        return [parsed.to_json() for parsed in self.parser.parse(list(texts), **(params or {}))]


mlflow.models.set_model(AspectModel())

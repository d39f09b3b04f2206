"""Model folder: file names, configuration (`parser.json`) and calibration."""

from __future__ import annotations

import json
import math
import stat
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from reviews_parsing.errors import ModelError
from reviews_parsing.schema import Taxonomy
from reviews_parsing.tagging.decode import DEFAULT_THRESHOLD

# Format 2 added transitions, format 3 `threshold`, format 4 `link_bias`.
FORMAT = 4
MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE = "model.onnx", "tokenizer.json", "parser.json"
# Optional files: the training profile (`monitor.Profile`), the parameters of the training, the model card.
PROFILE_FILE, TRAINING_FILE, CARD_FILE = "profile.parquet", "training.json", "README.md"
MAX_REASON_CHARACTERS = 200
MAX_BYTES = {CONFIG_FILE: 16 * 2**20, TOKENIZER_FILE: 64 * 2**20}
MAX_WINDOW = 100_000
MAX_NAME_CHARACTERS = 1000
MAX_NUMBER = 1e6
"""Largest absolute value of a number in `parser.json`; sums and products of those do not overflow."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of probabilities, fitted on the validation split.

    Tag logits and transitions are multiplied by `tag_scale`, polarity logits by `polarity_scale` (temperature scaling,
    Guo et al., 2017). The probability of an implicit aspect is sigmoid(implicit_scale * logit + implicit_bias) (Platt,
    1999). Aspects less probable than `threshold` are not answers; the best threshold for F1 is half of that F1 (Lipton,
    Elkan and Naryanaswamy, 2014). Older models also scale the logits of spans by `span_scale` and `span_bias`.
    """

    tag_scale: float = 1.0
    span_scale: float = 1.0
    span_bias: float = 0.0
    polarity_scale: float = 1.0
    implicit_scale: float = 1.0
    implicit_bias: float = 0.0
    threshold: float = DEFAULT_THRESHOLD


Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class ParserConfig:
    """Configuration of a model: the content of `parser.json`. `window` and `margin` are in tokens.

    `transitions` and `opinion_transitions` are CRF transitions of aspect and opinion tags (`tagging.LinearChainCRF`),
    `link_bias` is the distance bias of `tagging.link_opinions`. Each is empty if the model has none. `languages` are
    ISO 639 codes of the languages that the model reads; if it is empty, languages are not identified.
    """

    taxonomy: Taxonomy
    window: int
    margin: int
    calibration: Calibration = Calibration()
    precision: str = "fp32"
    transitions: Matrix = ()
    opinion_transitions: Matrix = ()
    link_bias: tuple[float, ...] = ()
    languages: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write `parser.json` into `folder`."""
        form = {"format": FORMAT, **asdict(self)}
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in form.items())
        (folder / CONFIG_FILE).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ParserConfig:
        """Read `parser.json` from `folder`.

        Raises ModelError if it is missing, damaged or of a newer format, or if a file of the model cannot be read to an
        end.
        """
        _require_bounded(folder)
        try:
            form = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(
                f"{folder} holds no model ({CONFIG_FILE}: {error}); give a model folder or models:/NAME@ALIAS"
            ) from error
        try:
            if form["format"] not in range(1, FORMAT + 1):
                number = str(form["format"])[:20]
                raise ModelError(f"{folder} has format {number}, not 1 to {FORMAT}; install the version that made it")
            # Older models lack some fields; before format 4, `multi_label` was `several`, `threshold` `answer_from`.
            labels = form["taxonomy"]
            taxonomy = Taxonomy(
                _names(labels["categories"]),
                _names(labels["polarities"]),
                _names(labels.get("implicit", [])),
                labels.get("opinions", False),
                labels.get("multi_label", labels.get("several", False)),
                labels.get("unique_mentions", False),
            )
            parameters = {name: _number(value) for name, value in form["calibration"].items()}
            if "answer_from" in parameters:
                parameters["threshold"] = parameters.pop("answer_from")
            window, margin = int(form["window"]), int(form["margin"])
            if not 0 <= margin < window <= MAX_WINDOW:
                raise ValueError(f"windows of {window} tokens with a margin of {margin}")
            calibration = Calibration(**parameters)
            if not 0 <= calibration.threshold <= 1:
                raise ValueError(f"a threshold of {calibration.threshold:g}")
            return cls(
                taxonomy,
                window,
                margin,
                calibration,
                str(form["precision"]),
                tuple(map(_numbers, form.get("transitions", ()))),
                tuple(map(_numbers, form.get("opinion_transitions", ()))),
                _numbers(form.get("link_bias", ())),
                _names(form.get("languages", [])),
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ModelError(f"{folder} is damaged ({CONFIG_FILE}: {short_reason(error)}); fetch it again") from error


def _names(values: Any) -> tuple[str, ...]:
    """Return distinct names that can be printed and encoded. Raises ValueError."""
    for name in values:
        if not isinstance(values, list) or not isinstance(name, str):
            raise ValueError(f"{str(values)[:40]!r} is not a list of names")
        if not 0 < len(name) <= MAX_NAME_CHARACTERS or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise ValueError(f"{ascii(name)[:40]} is not a name")
    if len(set(values)) < len(values):
        raise ValueError(f"{str(values)[:40]!r} has a name twice")
    return tuple(values)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or abs(number) > MAX_NUMBER:
        raise ValueError(f"{number:g} is not a number that is used")
    return number


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(map(_number, values))


def short_reason(error: Exception) -> str:
    """Return the reason of a library's error in one short line."""
    reason = str(getattr(error, "strerror", None) or error)
    return shorten(reason, MAX_REASON_CHARACTERS, placeholder=" ...") or type(error).__name__


def _require_bounded(folder: Path) -> None:
    """Raise ModelError if a file is a pipe or a device, whose reading may never end, or is too large."""
    for name in (CONFIG_FILE, TOKENIZER_FILE, MODEL_FILE):
        try:
            status = (folder / name).stat()
        except OSError:
            continue  # its reader says more
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{folder / name} is not a regular file; fetch the model again")
        if (limit := MAX_BYTES.get(name)) and status.st_size > limit:
            raise ModelError(f"{folder / name} has {status.st_size:,} bytes, more than {limit:,}; it is damaged")

"""What a model folder holds: its files, its configuration, the calibration of its probabilities."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reviews_parsing.errors import ModelError
from reviews_parsing.schema import Taxonomy
from reviews_parsing.tagging.decode import DEFAULT_THRESHOLD

# Models of format 1 know no transitions, those of 2 no `threshold`, those of 3 no `link_bias`.
FORMAT = 4
MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE = "model.onnx", "tokenizer.json", "parser.json"
# Beside what the parser needs: a sample of training in numbers (`monitor.Profile`), and the parameters of the training.
PROFILE_FILE, TRAINING_FILE, CARD_FILE = "profile.parquet", "training.json", "README.md"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Makes probabilities mean what they say; fitted on the validation split.

    Logits of tags and their transitions are multiplied by `tag_scale`, those of polarities by `polarity_scale`
    (temperature scaling, Guo et al., 2017); an implicit aspect's probability is sigmoid(implicit_scale * logit +
    implicit_bias) (Platt, 1999). What is less than `threshold` probable is no answer: the best threshold for F1 is
    half the F1 that it reaches (Lipton, Elkan and Naryanaswamy, 2014).
    Models of before scale a span's logit in the same way with `span_scale` and `span_bias`.
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
    """What a model folder says about itself besides its weights. `window` and `margin` are in tokens.

    The transitions are those of `tagging.LinearChainCRF`, of aspects' tags and of opinions'; empty where none were
    learnt. `link_bias` is that of `tagging.link_opinions`; empty in models of format 1 to 3.
    """

    taxonomy: Taxonomy
    window: int
    margin: int
    calibration: Calibration = Calibration()
    precision: str = "fp32"
    transitions: Matrix = ()
    opinion_transitions: Matrix = ()
    link_bias: tuple[float, ...] = ()

    def write(self, folder: Path) -> None:
        form = {"format": FORMAT, **asdict(self)}
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in form.items())
        (folder / CONFIG_FILE).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ParserConfig:
        """Raises ModelError where the folder holds no model or one that this version cannot read."""
        try:
            form = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder} holds no model ({CONFIG_FILE}: {error}); give a model folder or models:/NAME@ALIAS"
            ) from error
        try:
            if form["format"] not in range(1, FORMAT + 1):
                raise ModelError(
                    f"{folder} has format {form['format']}, not 1 to {FORMAT}; install the version that made it"
                )
            known = form["taxonomy"]
            # Older models lack these; until format 4 `multi_label` was `several`, and `threshold` `answer_from`.
            taxonomy = Taxonomy(
                tuple(known["categories"]),
                tuple(known["polarities"]),
                tuple(known.get("implicit", ())),
                known.get("opinions", False),
                known.get("multi_label", known.get("several", False)),
                known.get("unique_mentions", False),
            )
            fitted = dict(form["calibration"])
            if "answer_from" in fitted:
                fitted["threshold"] = fitted.pop("answer_from")
            calibration = Calibration(**fitted)
            transitions, opinion_transitions = (
                tuple(map(tuple, form.get(name, ()))) for name in ("transitions", "opinion_transitions")
            )
            reading = (form["window"], form["margin"], calibration, form["precision"])
            return cls(taxonomy, *reading, transitions, opinion_transitions, tuple(form.get("link_bias", ())))
        except (KeyError, TypeError) as error:
            raise ModelError(f"{folder} is damaged ({CONFIG_FILE}: {error}); fetch it again") from error

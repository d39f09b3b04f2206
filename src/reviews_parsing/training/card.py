"""The model card: what the model is for, what it learned from, how good it is, where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from reviews_parsing.schema import Taxonomy
from reviews_parsing.training.evaluate import Evaluation, calibration_line
from reviews_parsing.training.fit import Recipe


def model_card(taxonomy: Taxonomy, recipe: Recipe, data: Mapping[str, object], test: Evaluation, precision: str) -> str:
    """Markdown with the front matter that model hubs read."""
    every = {**test.scores, "implicit": test.implicit, "tasd": test.tasd, "quad": test.quad}
    rows = "\n".join(
        f"| {name} | {s.precision:.3f} | {s.recall:.3f} | {s.f1:.3f} | {s.support} |" for name, s in every.items() if s
    )
    metrics = test.metrics()
    settings = ", ".join(f"{key} {value}" for key, value in asdict(recipe).items())
    sizes = ", ".join(f"{key} {value}" for key, value in data.items())
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: token-classification
tags: [aspect-based-sentiment-analysis, reviews, onnx]
---
# reviews-parsing-ner-aspects

Reads a public review and returns its aspects: spans of the text, each with a category, a polarity and a probability.

- **Categories**: {", ".join(taxonomy.categories)}
- **Without a span** ("Yum!"): {", ".join(taxonomy.implicit) or "none"}
- **Polarities**: {", ".join(taxonomy.polarities) or "none"}
- **Words that judge**: {"given with each aspect" if taxonomy.opinions else "not given"}
- **Precision of the weights**: {precision}

## Intended use
Finding out what many reviews talk about and how their writers feel about it: counts, trends, examples to read.
Not for decisions about a single person (an employee named in a review, a reviewer), and not as the only reader of a
text on which something serious depends.

## Data
{sizes}

## Training
{settings}

## Results on the test split
Exact match of span and category; `aggregated` is their micro average, `span` leaves the category aside,
`with_polarity` asks for the polarity too. Of aspects without a span (`implicit`), and of all together (`tasd`),
category and polarity must be right; for `quad` the words that judge as well.

| | precision | recall | F1 | support |
|---|---|---|---|---|
{rows}

Expected calibration error: {calibration_line(metrics)}.

## Limits
- It knows the categories above and the language and domain of its training data; elsewhere it guesses.
- Irony, hearsay and judgements spread over several sentences are where it errs most.
- Probabilities are calibrated on the validation split: on other kinds of text they are too sure.
"""

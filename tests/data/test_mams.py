"""Real SemEval-2014 files, if they are next to the project."""

from pathlib import Path

import pytest

from reviews_parsing import data

MAMS = Path(__file__).parents[3] / "shared" / "datasets" / "mams"
needs_mams = pytest.mark.skipif(
    not MAMS.is_dir(), reason=f"needs the MAMS data set (github.com/siat-nlp/MAMS-for-ABSA) at {MAMS}"
)


@needs_mams
@pytest.mark.parametrize(("task", "sentences", "aspects"), [("MAMS-ATSA", 500, 1332), ("MAMS-ACSA", 400, 888)])
def test_real_files_are_read_completely(task: str, sentences: int, aspects: int) -> None:
    reviews = data.read(MAMS / task / "val.xml")
    assert (len(reviews), sum(len(review.aspects) for review in reviews)) == (sentences, aspects)
    assert all(review.text[a.start : a.end] == a.word for review in reviews for a in review.aspects if a.span)


@needs_mams
def test_lossless_formats_preserve_real_files(tmp_path: Path) -> None:
    reviews = data.read(MAMS / "MAMS-ATSA" / "val.xml")
    for name in ("x.jsonl", "x.parquet"):
        assert not data.write(reviews, tmp_path / name)
        assert [(r.text, r.aspects) for r in data.read(tmp_path / name)] == [(r.text, r.aspects) for r in reviews]

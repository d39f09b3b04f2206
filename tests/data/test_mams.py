"""Real files of the SemEval-2014 form, where they have been put beside the project."""

from pathlib import Path

import pytest

from reviews_parsing import data
from reviews_parsing.data import xmltree

MAMS = Path(__file__).parents[3] / "shared" / "datasets" / "mams"
needs_mams = pytest.mark.skipif(
    not MAMS.is_dir(), reason=f"needs the MAMS data set (github.com/siat-nlp/MAMS-for-ABSA) at {MAMS}"
)


@needs_mams
@pytest.mark.parametrize(("task", "sentences", "aspects"), [("MAMS-ATSA", 500, 1332), ("MAMS-ACSA", 400, 888)])
def test_real_files_are_read_whole_and_written_back_the_same(
    tmp_path: Path, task: str, sentences: int, aspects: int
) -> None:
    source = MAMS / task / "val.xml"
    reviews = data.read(source)
    assert (len(reviews), sum(len(review.aspects) for review in reviews)) == (sentences, aspects)
    assert all(review.text[a.start : a.end] == a.word for review in reviews for a in review.aspects if a.span)
    assert not data.write(reviews, tmp_path / "again.xml", "semeval14")
    assert data.read(tmp_path / "again.xml") == reviews
    original, again = (xmltree.parse(path.read_bytes(), "x").root for path in (source, tmp_path / "again.xml"))
    assert xmltree.same(original, again)


@needs_mams
def test_real_files_survive_a_detour_through_the_formats_that_hold_them(tmp_path: Path) -> None:
    reviews = data.read(MAMS / "MAMS-ATSA" / "val.xml")
    for name in ("x.jsonl", "x.parquet", "x.xml"):
        assert not data.write(reviews, tmp_path / name)
        assert [(r.text, r.aspects) for r in data.read(tmp_path / name)] == [(r.text, r.aspects) for r in reviews]

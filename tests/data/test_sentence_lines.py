"""Line formats with `####` and `$T$`, token files with other columns, and forms that are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reviews_parsing import data
from reviews_parsing.data import LabelWarning
from reviews_parsing.errors import DataError


def labels(folder: Path, content: str, name: str) -> list[tuple[Any, ...]]:
    (folder / name).write_text(content, encoding="utf-8")
    return [
        (a.entity_group, a.word, a.polarity, a.opinion.word if a.opinion else None)
        for review in data.read(folder / name)
        for a in review.aspects
    ]


@pytest.mark.parametrize("name", ["x.txt", "x.raw", "x"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("The plum tart shone .####[([1, 2], [3], 'NEU')]\n", [("ASPECT", "plum tart", "neutral", "shone")]),
        ("So good .####[]\nThe tart shone .####[([1], [2], 'POS')]\n", [("ASPECT", "tart", "positive", "shone")]),
        ("The plum tart shone .####1,3 FOOD#STYLE 0 3,4\n", [("FOOD#STYLE", "plum tart", "negative", "shone")]),
        (
            "It shone .####-1,-1 PRICE 1 1,2\t0,1 X 2 -1,-1\n",
            [("PRICE", None, "neutral", "shone"), ("X", "It", "positive", None)],
        ),
        ("A plum tart####A=O plum=T-NEG tart=T-NEG\n", [("ASPECT", "plum tart", "negative", None)]),
        ("A plum tart####A=O plum=B-POS tart=E-POS\n", [("ASPECT", "plum tart", "positive", None)]),
        ("A $T$ to share\nplum tart\n-1\n", [("ASPECT", "plum tart", "negative", None)]),
        (
            "$T$ and tea\ntart\npositive\ntart and $T$\ntea\nneutral\n",
            [("ASPECT", "tart", "positive", None), ("ASPECT", "tea", "neutral", None)],
        ),
    ],
)
def test_line_formats_are_read(tmp_path: Path, name: str, content: str, expected: list[tuple[Any, ...]]) -> None:
    assert labels(tmp_path, content, name) == expected
    assert labels(tmp_path, content.replace("\n", "\r\n"), name) == expected


def test_aspects_of_one_sentence_are_one_review(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("$T$ and tea\ntart\npositive\ntart and $T$\ntea\nneutral\n")
    (review,) = data.read(tmp_path / "x.txt")
    assert (review.text, len(review.aspects)) == ("tart and tea", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A tart####[([0, 1], [7], 'POS')]\n", r"x.txt:1: tokens \[7\] are not among the 2"),
        ("A plum tart####[([0, 2], [1], 'POS')]\n", "not indices of consecutive tokens"),
        ("A tart####[['tart', 'food', 'positive', 'x']]\n", "as in ABSA-QUAD"),
        ("A tart####[([0], [1], 'SOSO')]\n", "not a triplet"),
        ("A tart####[__import__('os')]\n", "are not a list"),
        ("A tart####something else\n", "have an unknown form"),
        ("A $T$ to share\ntart\nfine\n", "x.txt:3: 'fine' is not a polarity"),
        ("A tart####[]\nno separator here\n", "seems to be a #### file"),
        ("A tart####A=O tart=T-POS####A=S tart=O\n", "several #### in a line"),
        ("A $T$ to share\ntart\n1\nMy $T$ too\ntea\n0\n", "x.txt:3: the polarities are numbers of an unknown scale"),
        ("A $T$ to share\ntart\n1\n", "numbers of an unknown scale"),
    ],
)
def test_invalid_lines_are_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        labels(tmp_path, content, "x.txt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.conllu", "# sent_id = 1\n1\tA\ta\tDET\tO\n2\tplum\tp\tN\tB-FOOD\n3\ttart\tt\tN\tI-FOOD\n", "plum tart"),
        ("x.conll", "1\tA\tO\tDET\n2\ttart\tB-FOOD\tN\n", "tart"),
        ("x.txt", "0 A O\n1 tart U-FOOD\n\n0 So O\n1 good O\n", "tart"),
        ("x.tsv", "1\tA\tO\n2\ttart\tS-FOOD\n\n3\tSo\tO\n4\tgood\tO\n", "tart"),
        ("x.bio", "O\tA\nB-FOOD\tplum\nI-FOOD\ttart\n", "plum tart"),
        ("x.iob", "A DT B-NP O\ntart NN I-NP B-FOOD\n", "tart"),
        ("x.bio", "A O\nplum B-FOOD\ntart L-FOOD\n", "plum tart"),
        ("x.txt", "A O\nplum B-FOOD\nred I-FOOD\ntart E-FOOD\n", "plum red tart"),
    ],
)
def test_columns_of_token_files_are_chosen_by_their_content(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    assert labels(tmp_path, content, name) == [("FOOD", expected, None, None)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", "#\thttp://a.org\n1\tA\tO\tO\n2\ttart\tB-OTH\tO\n", "columns 3, 4 all hold tags, as in GermEval"),
        ("x.conll", "1\tA\tO\n2-3\tdon't\tO\n2\tdo\tB-X\n", "multiword tokens or empty nodes of CoNLL-U"),
        ("x.txt", "1 A O\n1 tart B-FOOD\n2 So O\n2 good O\n", "first column holds numbers that do not count tokens"),
        ("x.txt", "A O -100\nplum B-ASP Negative\ntart I-ASP Negative\n", "seems to be ATEPC"),
        ("x.ann", "T1\tFOOD 2 6\ttart\n", "seems to be brat"),
        ("x.txt", "__label__FOOD a tart\n", "seems to be fastText"),
        ("x.yml", "nlu:\n- examples: |\n    - a [plum tart](FOOD)\n", "seems to be labels inside the text, as in Rasa"),
        ("x.txt", "A <FOOD>plum tart</FOOD>\n", "seems to be labels as tags inside the text"),
        ("x.csv", "text,label\ntart,FOOD\n", "seems to be a table with the columns text, label"),
        ("x.tsv", "review\taspect\na tart\tFOOD\n", "seems to be a table with the columns review, aspect"),
        ("x.txt", "A [B-ASP]plum tart[E-ASP] to share $LABEL$ Positive\n", "PyABSA's inference format"),
        ("x.txt", "A plum tart => (plum tart, food, positive, NULL)\n", "another kind"),
        ("x.txt", "A plum tart###[([1, 2], [0], 'POS')]\n", "another kind"),
        ("x.txt", "A plum tart\tplum tart\tfood\tpositive\tNULL\n", "labels in an unknown form"),
        ("x.ann", "T1\tFOOD 2 6\ttart\n*\tEquiv T1 T2\n", "seems to be brat"),
        ("x.tsv", "#FORMAT=WebAnno TSV 3.3\n1-1\t0-1\tA\t_\n", "seems to be WebAnno"),
    ],
)
def test_forms_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        labels(tmp_path, content, name)
    assert "IOB2" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "no quad here .\nthe tart shone .\t1,2 FOOD 2 2,3\n",
        "the tart shone .\t1,2 FOOD 2 2,3\t\n",
        "the tart shone .\t1,2 FOOD 2 2,3\t\t\r\nnone\t\r\n",
    ],
)
def test_acos_is_recognised_by_any_line(tmp_path: Path, content: str) -> None:
    assert labels(tmp_path, content, "x.tsv") == [("FOOD", "tart", "positive", "shone")]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("B-POS", "I-POS", "B-NEG"), [("ASPECT", "plum tart", "positive", None), ("ASPECT", "tea", "negative", None)]),
        (
            ("B-FOOD#positive", "I-FOOD#positive", "B-DRINK#negative"),
            [("FOOD", "plum tart", "positive", None), ("DRINK", "tea", "negative", None)],
        ),
    ],
)
def test_polarities_in_the_names_of_all_tags_are_polarities(
    tmp_path: Path, tags: tuple[str, str, str], expected: list[tuple[Any, ...]]
) -> None:
    lines = "\n".join(f"{token} {tag}" for token, tag in zip(("plum", "tart", "tea"), tags, strict=True))
    assert labels(tmp_path, lines + "\n", "x.conll") == expected


def test_polarities_in_the_names_of_some_tags_are_named(tmp_path: Path) -> None:
    lines = "plum B-FOOD-POS\ntart E-FOOD-POS\ntea S-DRINK\n"
    with pytest.warns(LabelWarning, match=r"the category of 1 of 2 labels \('FOOD-POS'\), as 'DRINK' holds none"):
        found = labels(tmp_path, lines, "x.conll")
    assert found == [("FOOD-POS", "plum tart", None, None), ("DRINK", "tea", None, None)]


def test_tags_of_nested_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x.conll:1: 'B-FOOD\|B-SOUP' holds several tags"):
        labels(tmp_path, "# text = a tart\na O\ntart B-FOOD|B-SOUP\n", "x.conll")


def test_spans_of_acos_that_are_empty_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.acos").write_text("the plum tart shone .\t1,2 FOOD#QUALITY 2 3,3\n")
    with pytest.warns(data.LabelWarning, match="1 of 2 spans as words, which are empty"):
        data.read(tmp_path / "x.acos")

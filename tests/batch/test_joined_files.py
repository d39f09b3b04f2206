"""Files that were joined or exported badly are read right, refused, or counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviews_parsing.batch import ReadOptions, Report, parse_files, read_texts
from reviews_parsing.batch.stats import Stats
from reviews_parsing.cli import output
from reviews_parsing.errors import DataError
from reviews_parsing.io.mojibake import MojibakeWarning
from reviews_parsing.schema import ParsedReview

MOJIBAKE = "id,review\n1,Nice soup here\n2,The cafÃ© was nice\n3,We donâ€™t like it\n"


class Silent:
    """A parser that finds nothing."""

    def parse_iter(
        self, texts: Iterable[str], min_score: float = 0.0, spans_only: bool = False
    ) -> Iterator[ParsedReview]:
        return (ParsedReview(text, ()) for text in texts)


def parse(path: Path, column: str | None = None) -> tuple[Report, list[str]]:
    texts: list[str] = []
    report = parse_files(
        Silent(), [str(path)], text_column=column, on_rows=lambda rows: texts.extend(row["review"] for row in rows)
    )
    return report, texts


def test_mojibake_is_counted_with_its_first_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text(MOJIBAKE, encoding="utf-8")
    report, texts = parse(tmp_path / "a.csv")
    assert texts[1] == "The cafÃ© was nice"  # spans are offsets into the text of the file
    assert report.mojibake == 2
    output.rejects(report)
    warning = f"warning: 2 texts hold characters of a wrong encoding (first: 'Ã©' for 'é' in {tmp_path}/a.csv:3)"
    assert warning in capsys.readouterr().err
    with pytest.warns(MojibakeWarning, match="2 texts hold"):
        assert len(list(read_texts([str(tmp_path / "a.csv")]))) == 3


def test_mojibake_in_parquet_and_in_parts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"review": ["Nice soup here", "The cafÃ©", None, "donâ€™t"]}), tmp_path / "a.parquet")
    report, _ = parse(tmp_path / "a.parquet")
    assert (report.mojibake, "a.parquet:2)" in report.mojibake_warning) == (2, True)
    stats, total = Stats(), Stats()
    stats.mojibake.add("cafÃ©", "x", 7)
    total.merge(Stats.from_json(stats.to_json()))
    assert total.report(1.0).mojibake_warning == stats.mojibake.describe()
    old = {key: value for key, value in stats.to_json().items() if key != "mojibake"}
    assert Stats.from_json(old).report(1.0).mojibake == 0


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ('"{""en"": ""Nice soup, warm""}"', "an object"),
        ("\"['Nice soup, warm']\"", "a list"),
        ("\"{'a': 1}\"", "an object"),
    ],
)
def test_a_column_of_objects_as_strings_is_refused_unless_it_is_requested(tmp_path: Path, cell: str, kind: str) -> None:
    (tmp_path / "a.csv").write_text(f"id,review\n1,{cell}\n2,{cell}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"a.csv: 'review' holds {kind} as a string in each row: write the"):
        parse(tmp_path / "a.csv")
    assert parse(tmp_path / "a.csv", "review")[0].rows == 2
    (tmp_path / "a.csv").write_text(f"id,review\n1,{cell}\n2,Nice soup\n", encoding="utf-8")
    assert parse(tmp_path / "a.csv")[0].rows == 2


@pytest.mark.parametrize("data_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_column_of_parquet_is_looked_at_as_those_of_other_files(tmp_path: Path, data_type: pa.DataType) -> None:
    file = tmp_path / "a.parquet"
    encoded = pa.array([None, '{"en": "Nice soup, warm"}', '{"en": "Cold tea"}'], data_type)
    pq.write_table(pa.table({"id": [0, 1, 2], "review": encoded}), file)
    with pytest.raises(DataError, match=r"a.parquet: 'review' holds an object as a string in each row: write the"):
        parse(file)
    assert parse(file, "review")[0].rows == 3
    # Of two columns of strings, the one of sentences.
    names, texts = pa.array(["Ann", "Bob"], data_type), pa.array(["nice soup", "cold tea"], data_type)
    pq.write_table(pa.table({"guest": names, "review": texts}), file)
    assert parse(file)[1] == ["nice soup", "cold tea"]
    pq.write_table(pa.table({"guest": names, "what they said": texts}), file)
    assert [text for text, _ in read_texts([str(file)])] == ["nice soup", "cold tea"]


@pytest.mark.parametrize("header", ["\ufeffid,review", '\ufeff"id","review"', "id,review"])
def test_the_header_of_a_joined_file_is_no_review(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(f"id,review\n1,Nice soup\n{header}\n2,Cold tea\n", encoding="utf-8")
    report, texts = parse(tmp_path / "a.csv")
    assert texts == ["Nice soup", "Cold tea"]
    assert [reason.rpartition("a.csv:")[2] for reason in report.reject_reasons] == ["3: the header again"]


def test_the_header_of_a_joined_sheet_is_no_review(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    for row in (["id", "review"], [1, "Nice soup"], ["id", "review"], [2, "Cold tea"]):
        workbook.active.append(row)
    workbook.save(tmp_path / "a.xlsx")
    report, texts = parse(tmp_path / "a.xlsx")
    assert (texts, report.rejected) == (["Nice soup", "Cold tea"], 1)


def test_joined_files_with_the_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,review\n1,Nice soup\nreview,id\nCold tea,2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a.csv:3: a second header with the columns in another order \(review, id\)"):
        parse(tmp_path / "a.csv")


def test_utf16_joined_to_utf8_is_rejected(tmp_path: Path) -> None:
    rows = "".join(f"{number},Crème brûlée number {number}\n" for number in range(20))
    joined = "id,review\n1,Slow waiter today\n".encode("utf-16")
    (tmp_path / "a.csv").write_bytes(f"id,review\n{rows}".encode() + joined)
    report, texts = parse(tmp_path / "a.csv")
    assert len(texts) == 20
    assert any("every second byte is NUL, as in UTF-16" in reason for reason in report.reject_reasons)
    (tmp_path / "a.csv").write_bytes(b"id,review\n1,Nice\0 soup\n2,Cold tea\n")
    assert parse(tmp_path / "a.csv")[1] == ["Nice\0 soup", "Cold tea"]
    (tmp_path / "a.csv").write_bytes(b"id,review\n" + "1,Nice soup\n".encode("utf-16") * 9)  # most of it is UTF-16
    with pytest.raises(DataError, match=r"a.csv:2: "):
        parse(tmp_path / "a.csv")


def test_a_byte_order_mark_between_json_lines_is_no_part_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\ufeff{"review":"Nice soup"}\n\ufeff{"review":"Cold tea"}\n', encoding="utf-8")
    report, texts = parse(tmp_path / "a.jsonl")
    assert (texts, report.rejected) == (["Nice soup", "Cold tea"], 0)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_line_after_damage_is_lost_in_any_encoding(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A line that cannot be decoded is a reject, or the file is refused; the lines after it are never missing."""
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-7", "iso2022_jp", "shift_jis", "cp1252"]))
    content = "id,review\n" + "".join(f"{number},Nice soup {number}\n" for number in range(40))
    packed = bytearray(content.encode(encoding))
    start = data.draw(st.integers(0, len(packed) // 2))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    packed[start : start + len(damage)] = damage
    path = tmp_path_factory.mktemp("damage") / "a.csv"
    path.write_bytes(packed)
    texts: list[str] = []
    options = ReadOptions(encoding=encoding, header=True, delimiter=",")
    try:
        parse_files(
            Silent(),
            [str(path)],
            text_column="review",
            reading=options,
            on_rows=lambda rows: texts.extend(map(str, rows)),
        )
    except DataError:
        return
    assert "Nice soup 39" in texts[-1]

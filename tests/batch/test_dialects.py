"""The dialect of delimited text is found from its content: a table is read back or refused, never misread."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from reviews_parsing.batch import ReadOptions, preview_file, read_texts
from reviews_parsing.errors import DataError

from .dialects import WrittenTable, written_tables

EXAMPLES = int(os.environ.get("DIALECT_EXAMPLES", "2000"))
IS_REPEATABLE = "DIALECT_EXAMPLES" not in os.environ
"""True: the same examples in each run. More examples, by hand, are new ones."""
ROWS = [["7", "2024-01-06", "Nice soup"], ["8", "2024-01-07", "Slow waiter, cold tea; never again"]]


def read(
    path: Path, content: bytes | str, column: str | None = None, **options: Any
) -> list[tuple[str, dict[str, Any]]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_texts([str(path)], column, ReadOptions(**options)))


def refusal(path: Path, content: bytes | str, column: str | None = None, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, content, column, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dialects") / "a.csv"


@settings(max_examples=EXAMPLES, derandomize=IS_REPEATABLE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=written_tables())
def test_a_table_in_any_dialect_is_read_back_or_refused(path: Path, table: WrittenTable) -> None:
    if not any(table.texts):
        return  # nothing tells the column of texts then
    try:
        rows = read(path, table.content)
    except DataError:
        return
    assert [text for text, _ in rows] == table.texts
    if table.header:
        names = [name for number, name in enumerate(table.header) if number != table.text_index]
        values = [[cell for number, cell in enumerate(row) if number != table.text_index] for row in table.rows]
        assert [row for _, row in rows] == [dict(zip(names, cells, strict=True)) for cells in values]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(table=written_tables().filter(lambda t: any(t.texts) and not t.dialect.preamble))
def test_options_settle_what_is_unclear(path: Path, table: WrittenTable) -> None:
    """With the dialect as options, nothing is refused and nothing misread."""
    dialect = table.dialect
    options = {
        "delimiter": dialect.delimiter,
        "encoding": dialect.encoding,
        "header": bool(table.header),
        "skip_lines": int(dialect.separator_line),
    }
    column = table.header[table.text_index] if table.header else _generated_name(table)
    assert [text for text, _ in read(path, table.content, column, **options)] == table.texts


def _generated_name(table: WrittenTable) -> str:
    return "text" if len(table.rows[0]) == 1 else f"column_{table.text_index + 1}"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".dat", ""])
def test_delimiters_and_unicode(tmp_path: Path, delimiter: str, encoding: str, ending: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["id", "date", "review"], *ROWS])
    rows = read(tmp_path / f"a{ending}", file.getvalue().encode(encoding))
    assert [(row["id"], row["date"], text) for text, row in rows] == [tuple(row) for row in ROWS]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("sep=|\nid|review\n1|Nice soup\n", ["Nice soup"]),
        ('"sep=;"\r\nid;review\r\n1;Nice soup\r\n', ["Nice soup"]),
        ("Reviews of June\n\nid,review,stars\n1,Nice soup,5\n2,Cold tea,1\n", ["Nice soup", "Cold tea"]),
        ("Reviews of June,,\nFilter: all,,\n,,\nid,review,stars\n1,Nice soup,5\n", ["Nice soup"]),
        ("# exported\nid\tfeedback\n1\tNice soup\n", ["Nice soup"]),
        ('id,review\n1,"He said \\"wow\\", twice"\n2,Fine\n', ['He said "wow", twice', "Fine"]),
        ("'id','review'\n'1','Nice, warm soup'\n", ["Nice, warm soup"]),
        ('id,review\n1,A 5" pipe\n2,Fine\n', ['A 5" pipe', "Fine"]),
        ("1;2024-01-06;Nice soup\n2;2024-01-07;Cold tea, sadly\n", ["Nice soup", "Cold tea, sadly"]),
        ("review\nNice soup, warm bread\nCold tea, slow waiter\n", ["Nice soup, warm bread", "Cold tea, slow waiter"]),
        ('4;"Nice,\ncaf\u00e9";5\n5;"Cold, caf\u00e9";1\n'.encode("cp1252"), ["Nice,\ncaf\u00e9", "Cold, caf\u00e9"]),
        ("5;4,5;Nice soup\n4;3,5;Cold tea, again\n1;1,0;Bad bread\n", ["Nice soup", "Cold tea, again", "Bad bread"]),
        (
            '3.0|24|Bath;UK|"our day \\"quoted\\" our room\ntook a while"\n'
            "4.5|3|Ulm,Germany|cold tea\n4|6|Graz|warm cider\n",
            ['our day "quoted" our room\ntook a while', "cold tea", "warm cider"],
        ),
        ("7;Great, really\n8;Bad, sad, awful\n", ["Great, really", "Bad, sad, awful"]),
        (",review\n0,Nice soup\n1,Cold tea\n", ["Nice soup", "Cold tea"]),
        (
            "name;Stars;City\nThe soup was lovely, really;4,5;Graz\nCold tea;1,0;Ulm\n",
            ["The soup was lovely, really", "Cold tea"],
        ),
    ],
)
def test_forms_of_tables(tmp_path: Path, content: bytes | str, texts: list[str]) -> None:
    assert [text for text, _ in read(tmp_path / "a.csv", content)] == texts


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ("Nice soup\nSlow waiter\nCold tea\n", "--no-header"),
        ("id^text\n1^Nice soup\n2^Cold tea\n", "--delimiter"),
        ("a,b\nNice soup,x\n", "--header or --no-header"),
        ("Nice soup;a|b\nCold tea;c|d\n", "--delimiter"),
        ("https://b.example/,2\tharbour view cost $9\n" * 3, "--delimiter"),
        ("4,5;\n4,5;soup was cold\n", "--delimiter"),
        ("Bath; UK,\nBath; UK,soup was cold\nBath; UK,cold tea\n", "--delimiter"),
        ("5,Nice soup; warm\n4,Cold tea; again\n1,Bad bread; old\n", "--delimiter"),
        ("id: 7\ntext: Nice soup\n\nid: 8\ntext: Cold tea\n", "--delimiter none"),
        ("text\ncaf\u00e9\n".encode("cp437"), "--encoding"),
        ("text\nvoil\u00e0 le caf\u00e9\n".encode("mac_roman"), "--encoding"),
        ("text\n\u0421\u0443\u043f\n".encode("cp1251"), "--encoding"),
        ("text\n\u5bff\u53f8\n".encode("shift_jis"), "--encoding"),
    ],
)
def test_the_refusal_names_the_option(tmp_path: Path, content: bytes | str, option: str) -> None:
    assert option in refusal(tmp_path / "a.csv", content)


@pytest.mark.parametrize(
    ("content", "options", "texts"),
    [
        ("Nice soup\nSlow waiter\n", {"header": False}, ["Nice soup", "Slow waiter"]),
        ("id^text\n1^Nice soup\n", {"delimiter": "^"}, ["Nice soup"]),
        ("1 Nice\n2 Cold\n", {"delimiter": "space", "header": False}, ["Nice", "Cold"]),
        ("Nice soup, warm\n", {"delimiter": "none", "header": False}, ["Nice soup, warm"]),
        ("one\ntwo\nid,text\n1,Nice soup\n", {"skip_lines": 2}, ["Nice soup"]),
        ("text\ncaf\u00e9\n".encode("cp437"), {"encoding": "cp437"}, ["caf\u00e9"]),
        ("text\n\u5bff\u53f8\n".encode("shift_jis"), {"encoding": "shift_jis"}, ["\u5bff\u53f8"]),
        ("id\ttext\n1\tNice soup\n", {"delimiter": "\\t"}, ["Nice soup"]),
    ],
)
def test_options(tmp_path: Path, content: bytes | str, options: dict[str, Any], texts: list[str]) -> None:
    assert [text for text, _ in read(tmp_path / "a.csv", content, **options)] == texts


@pytest.mark.parametrize("delimiter", ["ab", '"', "", "x", "\n"])
def test_delimiters_that_cannot_be(tmp_path: Path, delimiter: str) -> None:
    assert "--delimiter" in refusal(tmp_path / "a.csv", "id,text\n1,Nice soup\n", delimiter=delimiter)


@pytest.mark.parametrize("name", ["utf-99", "base64", "idna", "punycode", "undefined"])
def test_an_encoding_that_does_not_exist(tmp_path: Path, name: str) -> None:
    assert f"there is no encoding '{name}'" in refusal(tmp_path / "a.csv", "id,text\n1,Nice\n", encoding=name)


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_an_encoding_that_the_file_does_not_have(tmp_path: Path, name: str) -> None:
    message = refusal(
        tmp_path / name, '[{"text": "Nice"}]' if name == "a.json" else "id,text\n1,Nice\n", encoding="utf-16"
    )
    assert "is not utf-16 (UTF-16 stream does not start with BOM): name another --encoding" in message


@pytest.mark.parametrize(
    "text",
    [
        "Don\u2019t order the fish",
        "\u201cLovely\u201d caf\u00e9",
        "\u00a312 for cr\u00e8me br\u00fbl\u00e9e",
        "Cost \u20ac5",
        "M\u00fcller\u2019s place",
    ],
)
def test_windows_1252(tmp_path: Path, text: str) -> None:
    rows = read(tmp_path / "a.csv", f"id,review\n1,Nice soup\n2,{text}\n".encode("cp1252"))
    assert [text for text, _ in rows] == ["Nice soup", text]
    assert "windows-1252" in preview_file(str(tmp_path / "a.csv")).layout


def test_one_bad_byte_is_no_other_encoding(tmp_path: Path) -> None:
    """A file of UTF-8 stays one: the row with the byte is a reject."""
    lines = [f"{number},caf\u00e9 {number}".encode() for number in range(30)]
    content = b"id,review\n" + b"\n".join([*lines, b"30,caf\xe9"]) + b"\n"
    assert "a.csv:32: byte 0xe9" in refusal(tmp_path / "a.csv", content)


def test_the_layout_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Export\n\nid;review\n1;Nice soup\n", encoding="utf-16")
    preview = preview_file(str(tmp_path / "a.csv"))
    assert preview.layout == "CSV, UTF-16, delimiter ';', header in line 3"
    assert (preview.columns, preview.text_column) == (["id", "review"], "review")


def test_a_row_that_was_not_split_is_no_text(tmp_path: Path) -> None:
    content = "id;review;stars\n1;Nice soup;5\n"
    assert "--delimiter" in refusal(tmp_path / "a.csv", content, delimiter=",", header=True)
    content = "id^stars|review|city\n" + "1|Nice soup|Graz\n" * 3
    assert "seems to hold several columns" in refusal(tmp_path / "a.csv", content, delimiter="none", header=True)
    (first, *_) = read(tmp_path / "a.csv", content, "id^stars|review|city", delimiter="none", header=True)
    assert first[0] == "1|Nice soup|Graz"


@pytest.mark.parametrize("separator", ["~", "^", "::", "\x01", "\x1f", "\xa7", "\xa6"])
@pytest.mark.parametrize("ending", ["csv", "txt"])
@pytest.mark.parametrize("header", [["id", "date", "review"], []])
def test_rows_with_another_separator_are_not_one_column(
    tmp_path: Path, separator: str, ending: str, header: list[str]
) -> None:
    content = "".join(separator.join(row) + "\n" for row in ([header, *ROWS] if header else ROWS))
    path = tmp_path / f"a.{ending}"
    message = refusal(path, content)
    assert f"seems to be delimited by {separator!r}" in message or "it is unclear how" in message
    if len(separator) == 1:
        for name in (separator, repr(separator)[1:-1]):
            texts = [text for text, _ in read(path, content, delimiter=name)]
            assert texts == [row[2] for row in ROWS]
    assert len(read(path, content, delimiter="none", header=bool(header))) == 2


def test_columns_of_a_fixed_width_are_not_one_column(tmp_path: Path) -> None:
    rows = "".join(f"{number:<5}{text:<30}2024-01-06\n" for number, _, text in [["id", "", "review"], *ROWS, *ROWS])
    assert "columns of a fixed width" in refusal(tmp_path / "a.txt", rows)
    prose = ["The soup was nice.  The tea was not.", "Cold tea.  Nice soup.", "A slow waiter.  Never again."]
    assert [text for text, _ in read(tmp_path / "a.txt", "\n".join(prose))] == prose


MORE = [["A3", "2024-01-08", "7", "Warm bread"]]


@pytest.mark.parametrize(
    ("second", "place"),
    [
        (["", "", "Response", "Open-Ended Response"], "line 2 seems"),
        (["Respondent", "Start", "Score", "Why?"], "line 2 seems"),
        (["Start Date", "End Date", "How likely are you to recommend us to a friend?", "Tell us more"], "line 2 seems"),
    ],
)
def test_a_second_header_is_not_a_review(tmp_path: Path, second: list[str], place: str) -> None:
    rows = [["A1", "2024-01-06", "9", "Nice soup"], ["A2", "2024-01-07", "3", "Cold tea"], *MORE]
    header = ["who", "day", "How likely?", "Review"]
    content = "".join(";".join(row) + "\n" for row in [header, second, *rows])
    assert f"{place} to name the columns again" in refusal(tmp_path / "a.csv", content)
    assert next(text for text, _ in read(tmp_path / "a.csv", content, header=True)) == second[3]
    third = ['{"ImportId":"_id"}', "", '{"ImportId":"QID1"}', '{"ImportId":"QID2"}']
    content = "".join(
        ";".join(f'"{cell.replace(chr(34), 2 * chr(34))}"' for cell in row) + "\n"
        for row in [header, second, third, *rows]
    )
    assert "lines 2 and 3 seem" in refusal(tmp_path / "a.csv", content)


@pytest.mark.parametrize("first", [["A0", "n/a", "9", "Nice"], ["A0", "", "9", "Nice"], ["A0", "null", "", "Nice"]])
def test_a_first_row_without_a_number_is_a_review(tmp_path: Path, first: list[str]) -> None:
    rows = [["A1", "2024-01-06", "9", "Nice soup"], ["A2", "2024-01-07", "3", "Cold tea"], *MORE]
    content = "".join(",".join(row) + "\n" for row in [["who", "day", "score", "review"], first, *rows])
    assert [text for text, _ in read(tmp_path / "a.csv", content)] == ["Nice", "Nice soup", "Cold tea", "Warm bread"]


def test_a_header_that_is_repeated_is_not_a_review(tmp_path: Path) -> None:
    content = "id,review\n1,Nice soup\nid,review\n2,Cold tea\n"
    assert "a.csv:3: the header again" in refusal(tmp_path / "a.csv", content)


@pytest.mark.parametrize("name", ["reseña", "Révision du séjour", "Größe"])
def test_a_header_that_is_not_utf8_shows_the_encoding(tmp_path: Path, name: str) -> None:
    content = f"id,{name},stars\n1,nice soup,5\n2,cold tea,4\n"
    assert [text for text, _ in read(tmp_path / "a.csv", content.encode("cp1252"))] == ["nice soup", "cold tea"]
    assert "a.csv:1: byte" in refusal(tmp_path / "a.csv", "Numéro,Review\n1,nice soup\n".encode("mac_roman"))


def test_names_below_groups_of_columns_are_the_header(tmp_path: Path) -> None:
    content = ",Guest,,Stay\nid,name,country,review\n1,A,DE,Nice soup\n2,B,FR,Cold tea\n"
    rows = read(tmp_path / "a.csv", content)
    assert rows[0] == ("Nice soup", {"id": "1", "name": "A", "country": "DE"})
    assert len(rows) == 2


def test_columns_without_a_name_are_said(tmp_path: Path) -> None:
    assert "has 2 columns without a name" in refusal(tmp_path / "a.csv", "id,review,,\n1,Nice soup,,\n")


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_spaces_before_quotes_are_not_part_of_the_value(tmp_path: Path, delimiter: str) -> None:
    texts = [f"Nice soup{delimiter} cold", "Rude waiter", 'A ""great"" tea']
    rows = [f'{n}{delimiter} "{text}"{delimiter} 2024-01-0{n}' for n, text in enumerate(texts, start=1)]
    content = "\n".join([f"id{delimiter} review{delimiter} date", *rows])
    assert read(tmp_path / "a.csv", content)[2] == ('A "great" tea', {"id": "3", "date": "2024-01-03"})
    assert [text for text, _ in read(tmp_path / "a.csv", content)][:2] == texts[:2]
    quoted = f'id{delimiter}review\n1{delimiter}"He said{delimiter} ""great"" soup"\n2{delimiter}" Cold tea"\n'
    assert [text for text, _ in read(tmp_path / "a.csv", quoted)] == [f'He said{delimiter} "great" soup', " Cold tea"]
    ended = f'id{delimiter}review{delimiter}who\n1{delimiter}"Nice soup{delimiter} "{delimiter}" A"\n'
    assert read(tmp_path / "a.csv", ended) == [(f"Nice soup{delimiter} ", {"id": "1", "who": " A"})]

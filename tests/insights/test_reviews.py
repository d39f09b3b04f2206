"""Every output of `parse` is read; other files are refused in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from insights.making import Row, jsonl, parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, reviews


def figures(*paths: Path | str) -> list[tuple[str, int, int]]:
    return [(c.category, c.reviews, c.aspects) for c in analyse(paths).categories]


def test_all_forms_hold_the_same(tmp_path: Path, rows: list[Row], parsed: Path) -> None:
    lines = jsonl(tmp_path / "p.jsonl", rows)
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    table = tmp_path / "p.csv"
    cells = [[row["id"], row["date"], row["text"], json.dumps(row["aspects"])] for row in rows]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
    table.write_text("\n".join(["id,date,text,aspects", *quoted]) + "\n", encoding="utf-8")
    expected = analyse([parsed])
    array = tmp_path / "p.json"
    array.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    for path in (lines, packed, table, array):
        insights = analyse([path])
        for part in ("categories", "periods", "words", "judgements", "shown"):
            assert getattr(insights, part) == getattr(expected, part), (path, part)


def test_csv_with_quotes_and_lines_in_its_texts(tmp_path: Path) -> None:
    text = 'She said, ""so, so"".\n\nThe soup was fine, the tea; too.'
    aspect = '[{""entity_group"": ""FOOD"", ""word"": ""soup"", ""start"": 26, ""end"": 30}]'
    path = tmp_path / "p.csv"
    path.write_text(f'text,aspects\n"{text}","{aspect}"\n"Nothing; at all",[]\n', encoding="utf-8")
    insights = analyse([path])
    assert (insights.reviews, [(w.category, w.word, w.aspects) for w in insights.words]) == (2, [])
    assert [(c.category, c.aspects, c.implicit) for c in insights.categories] == [("FOOD", 1, 0)]


def test_folders_and_globs_are_all_their_files(tmp_path: Path, rows: list[Row]) -> None:
    folder = tmp_path / "it's"
    (folder / "deep").mkdir(parents=True)
    parquet(folder / "part-0.parquet", rows[:2])
    parquet(folder / "deep" / "part-1.parquet", rows[2:])
    (folder / "_rejects.jsonl").write_text("{}\n")
    (folder / ".part-2.parquet.tmp").write_bytes(b"half")
    jsonl(folder / "rejects.jsonl", rows)
    whole = [("FOOD", 3, 4), ("STAFF", 2, 2), ("AMBIENCE", 1, 1)]
    assert (
        figures(folder) == figures(folder / "**" / "*.parquet") == figures(folder, folder / "part-0.parquet") == whole
    )
    assert figures(folder / "part-0.parquet", jsonl(tmp_path / "rest.jsonl", rows[2:])) == whole


def test_columns_may_differ_between_files_and_aspects_may_be_plainer(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "one.jsonl", [review("[Tea](BEVERAGE+).", city="Bath")])
    plain = [{"text": "Tea.", "aspects": [{"entity_group": "BEVERAGE", "word": "Tea", "start": 0, "end": 3}]}]
    two = jsonl(tmp_path / "two.jsonl", plain)
    kind = pa.list_(pa.struct([("entity_group", pa.string()), ("polarity", pa.string())]))
    third = tmp_path / "three.parquet"
    pq.write_table(
        pa.table({"aspects": pa.array([[{"entity_group": "BEVERAGE", "polarity": "negative"}], None], kind)}), third
    )
    (insights,) = analyse([one, two, third]).categories
    assert (insights.reviews, insights.positive, insights.negative, insights.other, insights.implicit) == (
        3,
        1,
        1,
        1,
        1,
    )


def test_a_column_with_a_number_in_its_name_is_not_another_one(tmp_path: Path) -> None:
    rows = [review("[Tea](BEVERAGE+).", date=f"2024-0{1 + n % 2}-01", month_2="AB"[n // 20]) for n in range(40)]
    path = jsonl(tmp_path / "p.jsonl", rows)
    (comparison,) = analyse([path], ["month"]).comparisons
    assert [group.value for group in comparison.groups] == ["2024-01", "2024-02"]
    (comparison,) = analyse([path], ["month_2"]).comparisons
    assert [group.value for group in comparison.groups] == ["A", "B"]
    with pytest.raises(DataError, match="no column 'week_2'"):
        analyse([path], ["week_2"])


def test_unknown_polarities_are_noted(tmp_path: Path) -> None:
    def notes(*polarities: str | None) -> str:
        rows = [{"aspects": [{"entity_group": "FOOD", "polarity": polarity}]} for polarity in polarities]
        return "\n".join(analyse([jsonl(tmp_path / "p.jsonl", rows)]).notes)

    assert "so aspects with 'POS' (2), 'Negative' (1) are neither." in notes("POS", "Negative", "POS", "positive")
    assert "there is neither praise nor blame" in notes(None, None)
    assert "praise" not in notes("positive", "negative", "neutral", "mixed", "conflict", None)


def test_a_row_of_a_megabyte_is_read(tmp_path: Path) -> None:
    rows = [review("[Tea](BEVERAGE+) " + "and more " * 120_000)]
    assert figures(jsonl(tmp_path / "p.jsonl", rows)) == [("BEVERAGE", 1, 1)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("raw.csv", b"text,stars\nGood.,5\n", "raw.csv has no column 'aspects', only text, stars: parse them first"),
        (
            "raw.jsonl",
            b'{"text": "Good."}\n',
            "no column 'aspects', only text: parse them first: reviews-parsing parse",
        ),
        ("empty.jsonl", b"", "empty.jsonl is empty"),
        ("half.jsonl", b'{"text": "Good.", "aspects": []}\n{"text": "Ba', "half.jsonl cannot be read"),
        ("half.parquet", b"PAR1 and then nothing", "half.parquet cannot be read"),
        ("notes.txt", b"Good.", "notes.txt: the ending '.txt' names no known format"),
        ("wrong.jsonl", b'{"text": "Good.", "aspects": [3]}\n', "wrong.jsonl cannot be read"),
        ("other.jsonl", b'{"aspects": [{"category": "FOOD"}, {"entity_group": "FOOD"}]}\n', "1 aspects have no 'ent"),
        ("other.csv", b'aspects\n"[{""category"": ""FOOD""}]"\n', "other.csv: 1 aspects have no 'entity_group'"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        analyse([tmp_path / name])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_holds_nothing_is_one_line(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.parquet", "none.parquet does not exist"),
        (tmp_path / "*.parquet", "matches no file"),
        (tmp_path, "holds no Parquet and no JSONL"),
    ):
        with pytest.raises(DataError, match=message):
            analyse([path])
    with pytest.raises(DataError, match="no input"):
        analyse([])
    with pytest.raises(DataError, match="holds no review"):
        analyse([parquet(tmp_path / "hollow.parquet", [])])
    numbers = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"aspects": [1, 2]}), numbers)
    with pytest.raises(DataError, match=r"column 'aspects' is BIGINT, not parsed aspects"):
        analyse([numbers])


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_names_that_differ_in_case_are_columns_of_their_own(tmp_path: Path, form: str) -> None:
    rows = [
        review("The [tea](BEVERAGE+) was fine.", City="x", city="AB"[n % 2], TEXT="-", Date="-", date="2024-01-05")
        for n in range(40)
    ]
    path = tmp_path / f"p.{form}"
    if form == "parquet":
        parquet(path, rows)
    elif form == "jsonl":
        jsonl(path, rows)
    else:
        lines = [
            ",".join('"' + str(v if isinstance(v, str) else json.dumps(v)).replace('"', '""') + '"' for v in r.values())
            for r in rows
        ]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n", encoding="utf-8")
    insights = analyse([path], ["city"], time="date")
    (comparison,) = insights.comparisons
    assert comparison.column == "city"
    assert [(group.value, group.reviews) for group in comparison.groups] == [("A", 20), ("B", 20)]
    assert (insights.dated, insights.shown[0].text) == (40, "The tea was fine.")
    assert [g.value for g in analyse([path], ["City"], time="date").comparisons[0].groups] == ["x"]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_column_may_have_a_name_that_queries_use(tmp_path: Path, form: str) -> None:
    columns: list[Row] = [{"file_row_number": n % 2, "__file": "a", "__row_id": n} for n in range(40)]
    rows = [review("The [tea](BEVERAGE+) was fine.", **row) for row in columns]
    path = (parquet if form == "parquet" else jsonl)(tmp_path / f"p.{form}", rows)
    insights = analyse([path], ["file_row_number"])
    assert [(group.value, group.reviews) for group in insights.comparisons[0].groups] == [("0", 20), ("1", 20)]
    assert insights.sentences[0].review_name.startswith(f"p.{form}, row ")


@pytest.mark.parametrize(("cores", "threads", "memory"), [(1, 1, "256.0 MiB"), (4, 4, "512.0 MiB"), (64, 8, "1.0 GiB")])
def test_memory_is_limited_and_spills_beside_the_copies(
    monkeypatch: pytest.MonkeyPatch, parsed: Path, cores: int, threads: int, memory: str
) -> None:
    monkeypatch.setattr(reviews, "usable_cores", lambda: cores)
    with reviews.open_reviews([parsed]) as opened:
        settings = (
            "SELECT current_setting('threads'), current_setting('memory_limit'), current_setting('temp_directory')"
        )
        ((number, limit, folder),) = opened.rows(settings)
        assert (number, limit) == (threads, memory)
        assert Path(str(folder)).is_dir()
    assert not Path(str(folder)).exists()

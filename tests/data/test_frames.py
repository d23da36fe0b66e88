"""Files become tables, and a broken file is told by file, line and column."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from fathom.data.columns import names, numbers, take_columns, times
from fathom.data.frames import Table, from_frame, read_lines, read_table
from fathom.errors import ConfigError, DataError


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv", ";"), ("a.txt", "|"), ("a.csv.gz", ",")])
def test_text_tables_of_every_separator(tmp_path: Path, name: str, separator: str) -> None:
    content = "\n".join(separator.join(row) for row in (["user", "item"], ["u", "007"], ["v", ""])).encode()
    table = read_table(written(tmp_path, name, gzip.compress(content) if name.endswith(".gz") else content))
    assert table.frame.rows() == [("u", "007"), ("v", None)], "everything stays text, nothing is missing"
    assert bool(table.notes) == (separator in ";|"), "a separator that the name does not promise is told"


def test_parquet_and_json_lines_keep_their_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": ["a", "b"]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    assert read_table(tmp_path / "a.parquet").frame.equals(frame)
    assert read_table(tmp_path / "a.jsonl").frame.equals(frame)
    assert from_frame(frame.to_pandas()).frame["user"].to_list() == [1, 2]


def test_quoted_fields_may_hold_separators_and_line_breaks(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.csv", 'item,title\r\n1,"Heat, ""The"""\r\n2,"two\nlines"\r\n'))
    assert table.frame["title"].to_list() == ['Heat, "The"', "two\nlines"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "a.csv", "\ufeffuser,item\nu,i\n")).frame.columns == ["user", "item"]


def test_a_table_without_header_gets_numbered_columns(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.csv", "u,i,5.0\nv,i,4\n"))
    assert table.frame.columns == ["1", "2", "3"]
    assert table.frame.height == 2
    assert table.where(1) == "a.csv line 2"
    assert "there is no header" in table.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv: the file is empty"),
        ("a.csv", b" \n\n", "the file is empty"),
        ("a.csv", b"user,item\n", "has a header but no rows"),
        ("a.csv", b"user,item\nu,i\nu,i,5\n", r"a.csv line 3: expected 2 fields separated by ',', found 3: 'u,i,5'"),
        ("a.csv", b'user,item\n"a,b",i\nu\n', r"a.csv line 3: expected 2 fields separated by ',', found 1: 'u'"),
        ("a.csv", b"user,item,user\nu,i,v\n", "the column 'user' occurs twice"),
        ("a.csv", "user,item\nu,i\nu,Amélie\n".encode("latin-1"), r"a.csv line 3: the byte 0xe9 is not valid utf-8: .*--encoding latin-1"),
        ("a.csv", "user,item\nu,i\n".encode("utf-16"), "in UTF-16, not UTF-8"),
        ("a.csv.gz", b"user,item\nu,i\n", "not a whole gzip file"),
        ("a.parquet", b"user,item\nu,i\n", "not a readable Parquet file"),
        ("a.jsonl", b'{"user": 1}\n{"user": \n', r"a.jsonl line 2: not a JSON object \(Expecting value"),
        ("a.jsonl", b'{"user": 1}\n7\n', "a.jsonl line 2: not a JSON object, but '7'"),
        ("a.csv", b'user,item\nu,"' + b"x" * 200_000, "line 2: field larger than field limit .*is a quotation mark not closed"),
        ("a.jsonl", b'[{"user": 1}]', "one JSON list, but one JSON object per line is needed"),
        ("a.xlsx", b"x", "cannot tell from its name"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path, name, content))


def test_a_wrong_separator_is_told_with_the_right_one(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "user;item;rating\nu;i;5\n")
    with pytest.raises(
        DataError, match=r"line 1: the separator ',' is not in 'user;item;rating'; ';' is in it 2 times: write  --separator ';'"
    ):
        read_table(path, separator=",")


def test_another_encoding_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "user,item\nu,Amélie\n".encode("latin-1"))
    assert read_table(path, encoding="latin-1").frame["item"].to_list() == ["Amélie"]
    with pytest.raises(DataError, match="there is no encoding 'latin-9000'"):
        read_table(path, encoding="latin-9000")


def test_lines_with_a_long_separator(tmp_path: Path) -> None:
    path = written(tmp_path, "ratings.dat", "1::10::5::100\n2::20::4::200\n")
    assert read_lines(path, ("user", "item", "rating", "time"), separator="::").frame.rows() == [
        ("1", "10", "5", "100"),
        ("2", "20", "4", "200"),
    ]
    path.write_text("1::10::5::100\n12::Heat (1995)::4\n")
    with pytest.raises(DataError, match=r"ratings.dat line 2: expected 4 fields separated by '::', found 3: '12::Heat \(1995\)::4'"):
        read_lines(path, ("user", "item", "rating", "time"), separator="::")


def text_table(**columns: list[str | None]) -> Table:
    return Table(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), origin="log.csv", first_line=2)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1000000000", 1_000_000_000),
        ("978300760.9", 978_300_760),
        ("1000000000000", 1_000_000_000),  # milliseconds
        ("1000000000000000", 1_000_000_000),  # microseconds
        ("1000000000000000000", 1_000_000_000),  # nanoseconds
        ("2001-09-09", 999_993_600),
        ("2001-09-09 01:46:40", 1_000_000_000),
        ("2001-09-09T01:46:40", 1_000_000_000),
        ("2001-09-09T01:46:40Z", 1_000_000_000),
        ("2001-09-09T03:46:40+02:00", 1_000_000_000),
        ("2001-09-09 01:46", 999_999_960),
    ],
)
def test_times_of_every_kind_become_seconds(value: str, seconds: int) -> None:
    parsed, _ = times(text_table(time=[value, None, value]), "time")
    assert parsed.to_list() == [seconds, None, seconds]


def test_values_that_cannot_be_read_are_told_by_line_and_column() -> None:
    with pytest.raises(DataError, match=r"log.csv line 3: column 'when' holds 'yesterday', which is no time that can be read"):
        times(text_table(when=["2001-09-09", "yesterday"]), "when")
    with pytest.raises(DataError, match=r"log.csv line 4: column 'when' holds 'soon', which is not a number \(2 rows are like it\)"):
        times(text_table(when=["1", "2", "soon", "later"]), "when")
    with pytest.raises(DataError, match=r"log.csv line 3: column 'when' holds '-5', a time before 1970"):
        times(text_table(when=["1", "-5"]), "when")
    with pytest.raises(DataError, match=r"log.csv line 2: column 'when' holds '1969-07-20', a time before 1970"):
        times(text_table(when=["1969-07-20"]), "when")
    with pytest.raises(DataError, match=r"log.csv line 3: column 'when' holds '9{30}', a time after the year 9999"):
        times(text_table(when=["1", "9" * 30, "2"]), "when")
    with pytest.raises(DataError, match=r"log.csv line 2: column 'stars' holds 'five', which is not a number"):
        numbers(text_table(stars=["five"]), "stars")
    with pytest.raises(DataError, match=r"log.csv line 2: column 'stars' holds 'inf', which is not a finite number"):
        numbers(text_table(stars=["inf"]), "stars")


def test_missing_values_are_missing_in_every_spelling() -> None:
    assert numbers(text_table(rating=["1", "NaN", "", "null", None]), "rating").to_list() == [1.0, None, None, None, None]
    assert names(text_table(user=["1", "NaN", " ", "null", None, "01"]), "user").to_list() == ["1", None, None, None, None, "01"]
    floats = Table(pl.DataFrame({"user": [12.0, float("nan"), None]}), origin="frame")
    assert names(floats, "user").to_list() == ["12", None, None], "a missing value had made floats of whole numbers"
    assert names(Table(pl.DataFrame({"user": [1e30, 1.5]}), origin="frame"), "user").to_list() == ["1e+30", "1.5"]


def test_frames_hold_dates_and_no_lists() -> None:
    moment = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    table = from_frame(pl.DataFrame({"at": [moment], "day": [moment.date()], "naive": [moment.replace(tzinfo=None)], "user": [["u"]]}))
    assert [times(table, column)[0].to_list() for column in ("at", "day", "naive")] == [[1_000_000_000], [999_993_600], [1_000_000_000]]
    with pytest.raises(DataError, match=r"the frame: the column 'user' holds List.* but one name per row is needed"):
        names(table, "user")
    with pytest.raises(DataError, match="a dict is no frame that can be read"):
        from_frame({"user": ["u"]})  # type: ignore[arg-type]


def test_blank_lines_around_a_table_are_no_rows(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.csv", "\r\n\r\nuser,item\r\nu,i\r\n\r\nv,i\r\n\r\n\r\n"))
    assert table.frame.rows() == [("u", "i"), (None, None), ("v", "i")], "one inside is a row that says nothing, and is counted later"
    assert table.where(0) == "a.csv line 4"


def test_columns_are_found_by_name() -> None:
    table = text_table(userId=[], movieId=[], rating=[], timestamp=[], genres=[])
    assert take_columns(table, {}, needed=("user", "item")) == {
        "user": "userId",
        "item": "movieId",
        "rating": "rating",
        "time": "timestamp",
        "attributes.genres": "genres",
    }


def test_a_named_column_wins_and_is_used_once() -> None:
    table = text_table(user=[], customer=[], item=[])
    assert take_columns(table, {"user": "customer"}, needed=("user",))["user"] == "customer"


def test_a_missing_column_is_told_with_a_suggestion() -> None:
    table = text_table(usr=[], item=[])
    with pytest.raises(
        DataError, match=r"log.csv: no column looks like the user; did you mean 'usr'\?; say which one it is:  --column user=NAME"
    ):
        take_columns(table, {}, needed=("user",))
    with pytest.raises(DataError, match=r"there is no column 'use'; did you mean 'usr'\?"):
        take_columns(table, {"user": "use"}, needed=("user",))
    with pytest.raises(ConfigError, match=r"unknown column role 'usre'; did you mean 'user'\?"):
        take_columns(table, {"usre": "usr"}, needed=())

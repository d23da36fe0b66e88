"""Every layout through the one door; whatever is mended or left out is counted."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fathom.data.amazon import FIELDS
from fathom.data.columns import named
from fathom.data.dataset import Dataset
from fathom.data.frames import read_table
from fathom.data.platforms import platforms_of
from fathom.data.sources import from_frames, read, recognise
from fathom.data.titles import TitleIndex
from fathom.errors import ConfigError, DataError

DATA = Path(os.environ.get("FATHOM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
LOG = "user,item,rating,timestamp\nu,b,5,20\nu,a,4,10\nv,a,3,30\nv,c,1,5\n"


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return folder


def histories(dataset: Dataset) -> dict[str, list[str]]:
    """Per user the outside names of the items, oldest first."""
    log = dataset.interactions
    return {user: [dataset.catalog.names[item - 1] for item in log.history(place)] for place, user in enumerate(log.users)}


def attributes(dataset: Dataset, name: str) -> dict[str, tuple[str, ...]]:
    return dict(zip(dataset.catalog.names, dataset.catalog.attributes[name], strict=True))


# --- tables of one's own


def test_a_log_of_ones_own(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, log__csv=LOG) / "log.csv")
    assert histories(dataset) == {"u": ["a", "b"], "v": ["c", "a"]}
    assert dataset.interactions.ratings is not None
    assert dataset.interactions.ratings.tolist() == [4, 5, 1, 3]
    assert dataset.interactions.times is not None
    assert dataset.interactions.times.tolist() == [10, 20, 5, 30]
    assert dataset.catalog.titles == ("a", "b", "c")
    assert dataset.name == "log"
    assert "log.csv: user = 'user', item = 'item', time = 'timestamp', rating = 'rating'" in dataset.notes


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "csv.gz"])
def test_every_kind_of_table_gives_the_same_dataset(tmp_path: Path, ending: str) -> None:
    frame = pl.read_csv(LOG.encode())
    path = tmp_path / f"log.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending == "jsonl":
        frame.write_ndjson(path)
    elif ending == "csv.gz":
        path.write_bytes(gzip.compress(LOG.encode()))
    else:
        frame.write_csv(path, separator="\t" if ending == "tsv" else ",")
    expected = from_frames(frame).fingerprint
    assert read(path).fingerprint == expected
    assert from_frames(frame.to_pandas()).fingerprint == expected
    assert from_frames(frame.sample(fraction=1.0, shuffle=True, seed=1)).fingerprint == expected, "the order of rows does not count"


def test_of_parquet_what_plays_no_part_is_not_read(tmp_path: Path) -> None:
    frame = pl.read_csv(LOG.encode()).with_columns(page=pl.lit("a long text that says nothing of anybody's taste"))
    frame.write_parquet(tmp_path / "log.parquet")
    table = read_table(tmp_path / "log.parquet", choice=lambda there: named(there, {}, needed=("user", "item")))
    assert set(table.frame.columns) == {"user", "item", "timestamp", "rating"}
    assert table.unread == ("page",)
    assert table.frame.schema["item"] == pl.Categorical, "an id that recurs is kept once"
    assert read(tmp_path / "log.parquet", columns={"labels.page": "page"}).interactions.columns.keys() == {"page"}
    with pytest.raises(DataError, match=r"there is no column 'pge'; did you mean 'page'\?"):
        read(tmp_path / "log.parquet", columns={"labels.page": "pge"})
    frame.drop("item").write_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"no column looks like the item"):
        read(tmp_path / "none.parquet")


def test_the_parts_of_a_parquet_table_are_one_table(tmp_path: Path) -> None:
    frame = pl.read_csv(LOG.encode())
    (tmp_path / "log.parquet").mkdir()
    frame[:2].write_parquet(tmp_path / "log.parquet" / "part-0.parquet")
    frame[2:].write_parquet(tmp_path / "log.parquet" / "part-1.parquet")
    assert read(tmp_path / "log.parquet").fingerprint == from_frames(frame).fingerprint


def test_time_ties_stay_in_the_order_of_rows() -> None:
    frame = pl.DataFrame({"user": ["u", "u", "u", "v"], "item": ["c", "a", "b", "a"], "time": [7, 7, 7, 1]})
    assert histories(from_frames(frame))["u"] == ["c", "a", "b"]


def test_a_position_goes_before_a_time() -> None:
    frame = pl.DataFrame({"user": ["u", "u", "v"], "item": ["b", "a", "a"], "time": [1, None, 3], "position": [2, 1, 1]})
    dataset = from_frames(frame)
    assert histories(dataset)["u"] == ["a", "b"]
    assert dataset.interactions.times is not None
    assert dataset.interactions.times.tolist() == [-1, 1, 3]


def test_rows_are_in_order_where_nothing_says_otherwise() -> None:
    dataset = from_frames(pl.DataFrame({"user": ["u", "v", "u"], "item": ["b", "a", "a"]}))
    assert histories(dataset) == {"u": ["b", "a"], "v": ["a"]}
    assert "there is neither time nor position: the rows are taken to stand in the order of time" in dataset.notes
    assert dataset.interactions.times is None


def test_the_first_of_repeated_pairs_is_kept_unless_all_are_wanted() -> None:
    frame = pl.DataFrame({"user": ["u", "u", "u", "v"], "item": ["a", "b", "a", "a"], "time": [3, 2, 1, 1]})
    dataset = from_frames(frame)
    assert histories(dataset)["u"] == ["a", "b"]
    assert "1 repeated (user, item) pairs were left out: the first of each was kept" in dataset.notes
    assert histories(from_frames(frame, repeats=True))["u"] == ["a", "b", "a"]


def test_rows_that_cannot_be_placed_are_left_out_and_counted() -> None:
    frame = pl.DataFrame(
        {
            "user": ["u", None, "v", "NaN", "u"],
            "item": ["a", "a", "b", "b", ""],
            "time": [1.0, 2, 3, 4, 5],
            "rating": [1.0, 2, float("nan"), 4, 5],
        }
    )
    dataset = from_frames(frame)
    assert histories(dataset) == {"u": ["a"], "v": ["b"]}
    assert "2 rows without a user (column 'user') were left out" in dataset.notes
    assert "1 rows without an item (column 'item') were left out" in dataset.notes
    assert "1 interactions have no rating; they stay, unrated" in dataset.notes
    undated = from_frames(frame.with_columns(time=pl.Series([1, None, 3, 4, 5])).with_columns(user=pl.Series(["u", "u", "v", "v", "u"])))
    assert "1 rows without a time (column 'time') were left out" in undated.notes


def test_texts_come_from_an_item_table_or_from_the_log(tmp_path: Path) -> None:
    items = "item,name,genre,overview\nc,Cé,War|Drama,a war\na,Alpha,,\na,Again,,\nz,Nobody's,,\n"
    dataset = read(written(tmp_path / "shop", interactions__csv=LOG, items__csv=items))
    assert dataset.name == "shop"
    assert dict(zip(dataset.catalog.names, dataset.catalog.titles, strict=True)) == {"c": "Cé", "a": "Alpha", "b": "b"}
    assert attributes(dataset, "genres") == {"c": ("War", "Drama"), "a": (), "b": ()}
    assert dataset.catalog.descriptions == ("a war", "", "")
    assert "items.csv: 1 rows repeat an item id; the first row of each counts" in dataset.notes
    assert "1 items of the log (1 interactions) are not in the catalogue: their ids stand as titles" in dataset.notes
    assert "1 items of the catalogue were taken by nobody and left out" in dataset.notes
    wide = from_frames(pl.DataFrame({"user": ["u", "v"], "item": [1, 2], "title": ["One", "Two"]}))
    assert wide.catalog.titles == ("One", "Two")


def test_named_columns_and_attributes() -> None:
    frame = pl.DataFrame({"who": ["u", "v"], "what": ["a", "b"], "mood": ["dark", None], "label": ["A", "B"]})
    dataset = from_frames(frame, columns={"user": "who", "item": "what", "title": "label", "attributes.mood": "mood"})
    assert dataset.catalog.titles == ("A", "B")
    assert dataset.catalog.attributes == {"mood": (("dark",), ())}


def test_renumbering_changes_ids_and_nothing_else() -> None:
    frame = pl.DataFrame({"user": ["u"] * 20 + ["v"], "item": [*range(20), 0]})
    plain, one, same = from_frames(frame), from_frames(frame, renumber=1), from_frames(frame, renumber=1)
    assert plain.catalog.names == tuple(str(item) for item in range(20)), "numbers are ordered as numbers"
    assert one.catalog.names != plain.catalog.names
    assert histories(one) == histories(plain)
    assert one.fingerprint == same.fingerprint
    assert "item ids were given at random (seed 1), so that an id tells nothing of its item" in one.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item\nu,a\nu,b\n", "there is only one user .'u'."),
        ("user,item,timestamp\nu,a,1\nv,b,soon\n", "log.csv line 3: column 'timestamp' holds 'soon'"),
        ("user,item,timestamp\nu,a,2019-01-01\nv,b,soon\n", "log.csv line 3: column 'timestamp' holds 'soon', which is no time"),
        ("user,itm\nu,a\n", r"no column looks like the item; did you mean 'itm'\?"),
        ("user,item\n,a\n,b\n", "no interaction is left; .*2 rows without a user"),
    ],
)
def test_bad_logs_are_told(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, log__csv=content) / "log.csv")


def test_bad_choices_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, log__csv=LOG) / "log.csv"
    with pytest.raises(DataError, match=r"log.csv: there is no column 'usr'; did you mean 'user'\?"):
        read(path, columns={"user": "usr"})
    with pytest.raises(ConfigError, match=r"unknown format 'tabel'; did you mean 'table'\?"):
        read(path, format="tabel")
    with pytest.raises(DataError, match="there is no such file or folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no known layout .there is notes.md.: name one table"):
        read(written(tmp_path / "odd", notes__md="").parent / "odd")
    catalogue = written(tmp_path, items__csv="item,title\n1,One\n2,Two\n") / "items.csv"
    with pytest.raises(
        DataError, match=r"3 of the 3 items of the log are not in the catalogue .the log has 'a', the catalogue '1'.: do both"
    ):
        read(path, items=catalogue)


# --- MovieLens


def movies_1m(folder: Path, movies: str, ratings: str) -> Path:
    folder.mkdir()
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))
    (folder / "ratings.dat").write_text(ratings)
    return folder


def test_movielens_1m_layout(tmp_path: Path) -> None:
    movies = "1::Amélie (2001)::Comedy|Romance\n2::Heat (1995)::Action\n3::Unseen (1990)::Drama\n"
    folder = movies_1m(tmp_path / "ml-1m", movies, "1::2::5::978300760\n1::1::3::978300750\n2::2::4::978300770\n")
    dataset = read(folder)
    assert recognise(folder) == "movielens-dat"
    assert dataset.name == "movielens-1m"
    assert dataset.catalog.titles == ("Amélie (2001)", "Heat (1995)")
    assert attributes(dataset, "genres") == {"1": ("Comedy", "Romance"), "2": ("Action",)}
    assert attributes(dataset, "decade") == {"1": ("2000s",), "2": ("1990s",)}
    assert histories(dataset) == {"1": ["1", "2"], "2": ["2"]}
    with pytest.raises(ConfigError, match="'columns' says nothing to the format 'movielens-dat'"):
        read(folder, columns={"user": "x"})


def test_a_broken_line_of_movielens_is_told(tmp_path: Path) -> None:
    folder = movies_1m(tmp_path / "ml-1m", "1::Heat (1995)::Action\n", "1::1::5::978300760\n1::1::3\n")
    with pytest.raises(DataError, match=r"ratings.dat line 2: expected 4 fields separated by '::', found 3: '1::1::3'"):
        read(folder)


def test_movielens_100k_layout(tmp_path: Path) -> None:
    flags = ["0"] * 19
    flags[5] = flags[14] = "1"  # Comedy, Romance
    item = "|".join(["1", "Amélie (2001)", "01-Jan-2001", "", "http://", *flags]) + "\n"
    written(tmp_path / "ml-100k", u__data="196\t1\t3\t881250949\n22\t1\t1\t878887116\n")
    (tmp_path / "ml-100k" / "u.item").write_bytes(item.encode("latin-1"))
    dataset = read(tmp_path / "ml-100k")
    assert dataset.name == "movielens-100k"
    assert dataset.catalog.titles == ("Amélie (2001)",)
    assert attributes(dataset, "genres") == {"1": ("Comedy", "Romance")}
    assert dataset.interactions.users == ("22", "196"), "numbers are ordered as numbers"


def test_movielens_csv_layout(tmp_path: Path) -> None:
    movies = 'movieId,title,genres\r\n1,"American President, The (1995)",Comedy|Drama\r\n2, Odd ,(no genres listed)\r\n3,Odd,War\r\n'
    ratings = "userId,movieId,rating,timestamp\r\n1,1,4.5,964982703\r\n1,2,3.0,964982700\r\n2,3,1.0,1\r\n"
    dataset = read(written(tmp_path / "ml-latest", ratings__csv=ratings, movies__csv=movies))
    assert dataset.catalog.titles == ("American President, The (1995)", "Odd", "Odd [War]")
    assert attributes(dataset, "genres")["2"] == ()
    assert "1 titles got an addition in brackets, because other items share them" in dataset.notes


# --- Amazon


def json_lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_bytes(gzip.compress("\n".join(json.dumps(record) for record in records).encode()))


def test_amazon_2018_layout(tmp_path: Path) -> None:
    review = {"overall": 5.0, "verified": True, "reviewTime": "10 17, 2015", "reviewText": "fine", "vote": "1,203", "style": {"a": "b"}}
    reviews = [
        review | {"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1445040000},
        review | {"reviewerID": "A1", "asin": "B2", "unixReviewTime": 1444953600},
        review | {"reviewerID": "A2", "asin": "B3", "unixReviewTime": 1444953600},
    ]
    meta = [
        {
            "asin": "B1",
            "title": "Tom &amp; Jerry - <span class='x'>PC</span>",
            "category": ["Video Games", "PC", "Games"],
            "brand": "Acme",
            "rank": "9",
        },
        {"asin": "B1", "title": "again"},
        {"asin": "B2", "title": "var aPageStart = 1;", "description": ["one <b>two</b>", "three"]},
        {"asin": "B9", "title": "nobody's"},
    ]
    json_lines(tmp_path / "Video_Games_5.json.gz", reviews)
    json_lines(tmp_path / "meta_Video_Games.json.gz", meta)
    dataset = read(tmp_path)
    assert dataset.name == "amazon-video-games"
    assert dataset.catalog.titles == ("Tom & Jerry - PC", "B2", "B3")
    assert dataset.catalog.attributes == {
        "category": (("PC", "Games"), (), ()),
        "platform": (("PC",), (), ()),
        "brand": (("Acme",), (), ()),
    }
    assert dataset.catalog.descriptions == ("", "one two three", "")
    assert histories(dataset) == {"A1": ["B2", "B1"], "A2": ["B3"]}
    assert "meta_Video_Games.json.gz: 1 rows repeat an item id; the first row of each counts" in dataset.notes
    assert "meta_Video_Games.json.gz: 1 products have no readable title; their id stands as title" in dataset.notes


def test_amazon_2023_layout(tmp_path: Path) -> None:
    review = {"rating": 4.0, "title": "of the review", "text": "x", "images": [], "asin": "variant"}
    json_lines(
        tmp_path / "Software.jsonl.gz",
        [
            review | {"user_id": "A1", "parent_asin": "P1", "timestamp": 1588687728923},
            review | {"user_id": "A2", "parent_asin": "P1", "timestamp": 1588687729923},
        ],
    )
    json_lines(
        tmp_path / "meta_Software.jsonl.gz", [{"parent_asin": "P1", "title": "Editor", "store": "Acme", "price": None, "details": {"a": 1}}]
    )
    dataset = read(tmp_path)
    assert recognise(tmp_path) == "amazon-2023"
    assert dataset.catalog.titles == ("Editor",)
    assert dataset.interactions.times is not None
    assert dataset.interactions.times.tolist() == [1588687728, 1588687729]
    assert "the times in 'timestamp' are milliseconds; they were turned into seconds" in dataset.notes


@pytest.mark.parametrize("year", ["2018", "2023"])
def test_reviews_are_kept_where_they_are_asked_for(tmp_path: Path, year: str) -> None:
    """One line, without marks and entities; an empty one is an event without words, and counted; a file without texts is refused."""
    words = ("reviewText", "summary") if year == "2018" else ("text", "title")
    said = [("Loud &amp; clear.<br />\nI like it.", "Loud"), ("", "Nothing"), ("Loud &amp; clear.<br />\nI like it.", "")]
    names = FIELDS[year]
    times = 1445040000 if year == "2018" else 1445040000000
    reviews = [
        {names["user"]: f"A{place % 2}", names["item"]: f"B{place}", names["rating"]: 4.0, names["time"]: times + 86400 * place}
        | dict(zip(words, both, strict=True))
        for place, both in enumerate(said)
    ]
    name = "Software_5.json.gz" if year == "2018" else "Software.jsonl.gz"
    json_lines(tmp_path / name, reviews)
    assert read(tmp_path).interactions.columns == {}
    dataset = read(tmp_path, reviews=True)
    told = {
        name: [column.names[int(value) - 1] if value == value else None for value in column.values.tolist()]
        for name, column in dataset.interactions.columns.items()
    }
    assert told == {"review": ["Loud & clear. I like it.", "Loud & clear. I like it.", None], "headline": ["Loud", None, "Nothing"]}
    assert "1 reviews are empty; the events stay, without words" in dataset.notes
    dataset.save(tmp_path / "saved")
    assert read(tmp_path / "saved").interactions.columns["review"].names == ("Loud & clear. I like it.",)
    json_lines(tmp_path / name, [{key: value for key, value in one.items() if key != words[1]} for one in reviews])
    with pytest.raises(DataError, match=f"there is no field '{words[1]}'"):
        read(tmp_path, reviews=True)
    with pytest.raises(ConfigError, match="'reviews' says nothing to the format 'dataset'"):
        read(tmp_path / "saved", reviews=True)


def test_items_without_a_price_are_left_out_where_prices_are_asked_for(tmp_path: Path) -> None:
    prices = {"P1": "24.99", "P2": None, "P3": "from 12.99", "P4": "$1,049.00", "P5": 7.5, "P6": "—"}
    reviews = [
        {"rating": 4.0, "user_id": f"A{place % 2}", "parent_asin": item, "timestamp": 1588687728923 + place}
        for place, item in enumerate([*prices, "P7"])
    ]
    json_lines(tmp_path / "Software.jsonl.gz", reviews)
    with pytest.raises(DataError, match=r"Software.jsonl.gz: 'priced' asks for prices"):
        read(tmp_path, priced=True)
    json_lines(
        tmp_path / "meta_Software.jsonl.gz", [{"parent_asin": item, "title": item, "price": price} for item, price in prices.items()]
    )
    assert read(tmp_path).catalog.names == (*prices, "P7")
    dataset = read(tmp_path, priced=True)
    assert dataset.catalog.names == ("P1", "P4", "P5")
    assert "4 items have no price; they and their 4 interactions are left out" in dataset.notes
    json_lines(tmp_path / "meta_Software.jsonl.gz", [{"parent_asin": "P1", "title": "Editor", "price": None}])
    with pytest.raises(DataError, match="nothing is left"):
        read(tmp_path, priced=True)


def test_the_preprocessing_of_r2ec_is_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    moments = np.sort(rng.integers(1_640_995_200, 1_696_118_400, size=400)) * 1000  # 2022-01-01 to 2023-10-01
    pairs = zip(rng.integers(0, 30, size=400).tolist(), rng.integers(0, 50, size=400).tolist(), moments.tolist(), strict=True)
    reviews = [{"rating": 4.0, "user_id": f"A{user}", "parent_asin": f"P{item}", "timestamp": moment} for user, item, moment in pairs]
    products = [
        {
            "parent_asin": f"P{item}",
            "title": f"Thing {item} " + "x " * item,
            "store": "Acme",
            "categories": ["Games", "Old", "Very old"],
            "price": 9.5,
        }
        for item in range(50)
    ]
    json_lines(tmp_path / "Games.jsonl.gz", reviews)
    json_lines(tmp_path / "meta_Games.jsonl.gz", products)
    program = (
        "import sys; from pathlib import Path; from fathom.data.sources import read\n"
        "from fathom.data.filters import rolling_window, short_titles\n"
        "from fathom.data.splits import global_events\n"
        "found = short_titles(read(Path(sys.argv[1]), priced=True), 20)\n"
        "made = rolling_window(found, end='2023-10-01', least_items=18); made.save(Path(sys.argv[2]))\n"
        "cut = global_events(made.interactions, max_history=20); print(made.notes, [len(cut.valid), len(cut.test)], cut.test)"
    )
    said = []
    for seed in ("1", "2"):
        given = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "made" / seed)]
        done = subprocess.run(given, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        files = sorted((tmp_path / "made" / seed).iterdir())
        said.append((done.stdout, {path.name: path.read_bytes() for path in files}))
    assert said[0] == said[1]
    assert "titles of at most 20 words" in said[0][0]
    assert "months before 2023-10-01" in said[0][0]


def test_a_broken_amazon_line_is_told(tmp_path: Path) -> None:
    good = '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1}'
    (tmp_path / "Books.json").write_text(f'{good}\n{good}\n{{"reviewerID": \n')
    with pytest.raises(DataError, match=r"Books.json line 3: not a JSON object"):
        read(tmp_path / "Books.json")
    (tmp_path / "Books.json").write_text('{"reviewerID": "A1", "asin": "B1", "overall": 5.0}\n')
    with pytest.raises(DataError, match=r"Books.json line 1: there is no field 'unixReviewTime', which reviews of 2018 have"):
        read(tmp_path / "Books.json", format="amazon-2018")


def test_amazon_ratings_without_header(tmp_path: Path) -> None:
    (tmp_path / "Software.csv").write_text("0001713086,A1C6M8LCIX4M6M,5.0,1123804800\n0001713086,A1REUF3A1YCPHM,4.0,1112140800\n")
    dataset = read(tmp_path / "Software.csv")
    assert recognise(tmp_path / "Software.csv") == "amazon-2018-ratings"
    assert histories(dataset) == {"A1C6M8LCIX4M6M": ["0001713086"], "A1REUF3A1YCPHM": ["0001713086"]}


@pytest.mark.parametrize(
    ("title", "platforms"),
    [
        ("Hulk - Xbox", ("Xbox",)),
        ("Hulk (Xbox)", ("Xbox",)),
        ("Need for Speed: Carbon - Playstation 3", ("PlayStation 3",)),
        ("Street Fighter IV Collector's Edition -Xbox 360", ("Xbox 360",)),
        ("Just Dance - Nintendo Wii", ("Wii",)),
        ("Mario - Nintendo Wii U", ("Wii U",)),
        ("Monster Hunter - Nintendo 3DS Standard Edition", ("Nintendo 3DS",)),
        ("Sims 3 [Download] - PC/Mac", ("PC", "Mac")),
        ("Xbox 360 Wireless Controller", ("Xbox 360",)),
        ("Xbox Precision Controller", ()),  # vague: also the family's name
        ("PS2 PSX to PC USB adapter", ()),  # three platforms
        ("Controller for Xbox One & PC - Black", ()),
        ("10PCS Plastic cases", ()),
        ("Wiiings of Glory", ()),
        ("Zelda", ()),
    ],
)
def test_a_platform_is_read_only_where_it_is_certain(title: str, platforms: tuple[str, ...]) -> None:
    assert platforms_of(title) == platforms


def test_sequences_layout(tmp_path: Path) -> None:
    (tmp_path / "items.csv.gz").write_bytes(
        gzip.compress(b"item,asin,title,ambiguous\n0,B0,Heat - PC,0\n1,B1,R&amp;D,0\n2,B2,Heat - PC,0\n")
    )
    (tmp_path / "sequences.txt.gz").write_bytes(gzip.compress(b"A1 2 0 1\nA2 1\n"))
    dataset = read(tmp_path)
    assert histories(dataset) == {"A1": ["B2", "B0", "B1"], "A2": ["B1"]}
    assert sorted(dataset.catalog.titles) == ["Heat - PC", "Heat - PC [#2]", "R&D"]
    assert attributes(dataset, "platform") == {"B0": ("PC",), "B1": (), "B2": ("PC",)}
    assert "item ids were given at random (seed 0), so that an id tells nothing of its item" in dataset.notes
    (tmp_path / "sequences.txt.gz").write_bytes(gzip.compress(b"A1 2 0 1\nA2\n"))
    with pytest.raises(DataError, match=r"sequences.txt.gz line 2: expected a user and item numbers"):
        read(tmp_path)


# --- a dataset, and the measured data


def test_a_dataset_folder_goes_through_the_same_door(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, log__csv=LOG) / "log.csv")
    dataset.save(tmp_path / "saved")
    assert read(tmp_path / "saved").fingerprint == dataset.fingerprint
    with pytest.raises(ConfigError, match="'renumber' says nothing to the format 'dataset'"):
        read(tmp_path / "saved", renumber=3)


def measured(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not here: set FATHOM_DATA to the folder of the measured data")
    return DATA / name


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ml-1m", (6040, 3416, 999_611)),
        ("ml-latest-small", (610, 9724, 100_836)),
        ("amazon-games", (50_546, 16_859, 452_989)),
        ("amazon-instruments-reviews", (1429, 900, 10_261)),
    ],
)
def test_the_measured_data_come_out_whole(name: str, counts: tuple[int, int, int]) -> None:
    dataset = read(measured(name))
    assert (dataset.interactions.n_users, dataset.catalog.n_items, dataset.interactions.n_events) == counts
    index = TitleIndex(dataset.catalog)
    titles = dataset.catalog.titles
    assert all(index.resolve(f"7. {title}") == index.resolve(title) == item for item, title in enumerate(titles, start=1))


@pytest.mark.data
def test_movielens_1m_follows_the_positions() -> None:
    folder = measured("ml-1m")
    dataset = read(folder)
    frame = pl.read_parquet(folder / "interactions.parquet").filter(pl.col("position").is_not_null(), user=17).sort("position")
    place = dataset.interactions.users.index("17")
    assert histories(dataset)["17"] == frame["item"].cast(pl.String).to_list()
    assert dataset.interactions.times is not None
    part = slice(dataset.interactions.offsets[place], dataset.interactions.offsets[place + 1])
    np.testing.assert_array_equal(dataset.interactions.times[part], frame["timestamp"])
    assert "598 rows without a position (column 'position') were left out" in dataset.notes
    assert attributes(dataset, "director")["1"] == ("John Lasseter",)
    assert (dataset.interactions.times == -1).sum() > 500_000, "the times of users 3000 to 6040 are unknown"

"""MovieLens in its official layouts, and 1M as rebuilt from public pieces with positions in place of most times."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import polars as pl

from fathom.data.assemble import ItemText, assemble, log_of
from fathom.data.columns import take_columns
from fathom.data.dataset import Dataset
from fathom.data.frames import Table, read_lines, read_table
from fathom.data.reading import Reading, Source
from fathom.errors import DataError

LICENCE = "GroupLens: research use, no commercial use without permission; cite Harper and Konstan 2015 (doi 10.1145/2827872)"
NO_REDISTRIBUTION = LICENCE + "; no redistribution without permission"

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The genre flags of u.item, in their order (u.genre)."""

_YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$")
_NO_GENRE = ("(no genres listed)", "unknown", "")


def decade(title: str) -> tuple[str, ...]:
    """The decade named by the year at the end of a title; empty where there is none.

    >>> decade("Matrix, The (1999)"), decade("Babylon 5")
    (('1990s',), ())
    """
    year = _YEAR.search(title)
    return (f"{year[1][:3]}0s",) if year else ()


def _film(title: str, genres: Iterable[str], *, directors: Iterable[str] = (), description: str = "") -> ItemText:
    kept = tuple(genre for genre in genres if genre not in _NO_GENRE)
    attributes = {"genres": kept, "decade": decade(title), "director": tuple(directors)}
    return ItemText(title.strip(), attributes, description, hints=("/".join(kept),))


def _films(rows: Iterable[tuple[str, str, str]], origin: str) -> tuple[dict[str, ItemText], tuple[str, ...]]:
    """Films by id from (id, title, genres split at '|'), the first of each id, and a note on the others."""
    films: dict[str, ItemText] = {}
    repeated = 0
    for key, title, genres in rows:
        repeated += key in films
        films.setdefault(key, _film(title or "", (genres or "").split("|")))
    return films, (f"{origin}: {repeated:,} rows repeat an item id; the first row of each counts",) if repeated else ()


def _text_of(path: Path) -> str:
    """The encoding of a MovieLens text file: 1M and 100K are latin-1, later ones UTF-8."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _dat_films(path: Path) -> tuple[dict[str, ItemText], tuple[str, ...]]:
    table = read_lines(path, ("item", "title", "genres"), separator="::", encoding=_text_of(path))
    return _films(table.frame.iter_rows(), path.name)


def _dataset(
    path: Path,
    table: Table,
    films: Mapping[str, ItemText],
    *,
    reading: Reading,
    name: str,
    licence: str,
    notes: tuple[str, ...] = (),
) -> Dataset:
    taken = take_columns(table, {}, needed=("user", "item"))
    log = log_of(Table(table.frame, table.origin, table.first_line, (*table.notes, *notes)), taken)
    return assemble(
        log, films, name=reading.name or name, source=str(path), licence=licence, renumber=reading.renumber, repeats=reading.repeats
    )


def read_100k(path: Path, reading: Reading) -> Dataset:
    """MovieLens 100K: u.data (tabs), u.item ('|', latin-1, one flag per genre)."""
    table = read_lines(_file(path, "u.data"), ("user", "item", "rating", "timestamp"), separator="\t")
    fields = ("item", "title", "released", "video", "address", *GENRES_100K)
    item_path = _file(path, "u.item")
    rows = read_lines(item_path, fields, separator="|", encoding=_text_of(item_path)).frame
    flags = (tuple(genre for genre, flag in zip(GENRES_100K, row[5:], strict=True) if flag == "1") for row in rows.iter_rows())
    named = ((item, title, "|".join(genres)) for item, title, genres in zip(rows["item"], rows["title"], flags, strict=True))
    films, notes = _films(named, "u.item")
    return _dataset(path, table, films, reading=reading, name="movielens-100k", licence=NO_REDISTRIBUTION, notes=notes)


def read_dat(path: Path, reading: Reading) -> Dataset:
    """MovieLens 1M and 10M: ratings.dat and movies.dat with '::' between fields."""
    table = read_lines(_file(path, "ratings.dat"), ("user", "item", "rating", "timestamp"), separator="::")
    films, notes = _dat_films(_file(path, "movies.dat"))
    name = "movielens-1m" if table.frame.height <= 2_000_000 else "movielens-10m"
    return _dataset(path, table, films, reading=reading, name=name, licence=NO_REDISTRIBUTION, notes=notes)


def read_csv(path: Path, reading: Reading) -> Dataset:
    """MovieLens latest-small, latest, 20M, 25M, 32M: ratings.csv and movies.csv."""
    table = read_table(_file(path, "ratings.csv"), separator=",")
    movies = read_table(_file(path, "movies.csv"), separator=",")
    taken = take_columns(movies, {}, needed=("item", "title"))
    genres = movies.frame[taken["attributes.genres"]] if "attributes.genres" in taken else [""] * movies.frame.height
    films, notes = _films(zip(movies.frame[taken["item"]], movies.frame[taken["title"]], genres, strict=True), "movies.csv")
    return _dataset(path, table, films, reading=reading, name=path.resolve().name, licence=LICENCE, notes=notes)


def read_rebuilt(path: Path, reading: Reading) -> Dataset:
    """MovieLens 1M rebuilt: interactions.parquet (position for all, seconds for some), movies.dat, plots and abstracts if there.

    Interactions without a position (items with fewer than 5 ratings) are left out: their place in time is unknown.
    """
    table = read_table(_file(path, "interactions.parquet"))
    films, notes = _dat_films(_file(path, "movies.dat"))
    plots, directors, shared = _plots(path / "plots.parquet")
    abstracts, suspect = _abstracts(path / "abstracts.parquet")
    if shared:
        notes = (*notes, f"plots.parquet: {shared:,} plots that several films share were used for none of them")
    if suspect:
        notes = (*notes, f"abstracts.parquet: {suspect:,} abstracts marked as suspect were not used")
    described = {
        key: ItemText(
            film.title,
            dict(film.attributes) | {"director": directors.get(key, ())},
            " ".join(text for text in (plots.get(key, ""), abstracts.get(key, "")) if text),
            film.hints,
        )
        for key, film in films.items()
    }
    return _dataset(path, table, described, reading=reading, name="movielens-1m", licence=NO_REDISTRIBUTION, notes=notes)


def _plots(path: Path) -> tuple[dict[str, str], dict[str, tuple[str, ...]], int]:
    """Plots and directors by item, and how many plots were not used: one that two films share is wrong for one of them."""
    if not path.is_file():
        return {}, {}, 0
    frame = read_table(path).frame.with_columns(pl.col("item").cast(pl.String))
    own = frame.filter(pl.col("plot").is_not_null() & pl.col("plot").is_unique())
    plots = dict(zip(own["item"], own["plot"], strict=True))
    known = frame.filter(pl.col("directors").is_not_null())
    directors = {item: tuple(names) for item, names in zip(known["item"], known["directors"].to_list(), strict=True)}
    return plots, directors, int(frame["plot"].count()) - own.height


def _abstracts(path: Path) -> tuple[dict[str, str], int]:
    """Abstracts by item, without those marked as suspect, and how many these were."""
    if not path.is_file():
        return {}, 0
    frame = read_table(path).frame.with_columns(pl.col("item").cast(pl.String))
    trusted = frame.filter(~pl.col("suspect"))
    return dict(zip(trusted["item"], trusted["abstract"], strict=True)), frame.height - trusted.height


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) if folder.is_dir() else "it is no folder"
        raise DataError(f"{folder}: there is no '{name}' in it ({there})")
    return folder / name


def _holds(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds all these files."""
    return lambda path: all((path / name).is_file() for name in names)


SOURCES = {
    "movielens-100k": Source("MovieLens 100K: u.data, u.item", _holds("u.data", "u.item"), read_100k),
    "movielens-dat": Source("MovieLens 1M or 10M: ratings.dat, movies.dat", _holds("ratings.dat", "movies.dat"), read_dat),
    "movielens-csv": Source(
        "MovieLens latest-small, latest, 20M, 25M, 32M: ratings.csv, movies.csv", _holds("ratings.csv", "movies.csv"), read_csv
    ),
    "movielens-1m-rebuilt": Source(
        "MovieLens 1M with positions: interactions.parquet, movies.dat", _holds("interactions.parquet", "movies.dat"), read_rebuilt
    ),
}

"""Which column plays which part, and its values as names, numbers and times; a value that cannot be read is told by line and column."""

import re
from collections.abc import Iterable, Mapping

import polars as pl

from fathom.data.frames import Table
from fathom.errors import ConfigError, DataError, suggestion

ROLES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "userid", "uid", "reviewerid", "customerid", "visitorid", "memberid", "sessionid", "session"),
    "item": ("item", "itemid", "iid", "movieid", "parentasin", "asin", "productid", "sku", "bookid", "trackid", "artistid", "businessid"),
    "time": ("timestamp", "time", "datetime", "date", "unixreviewtime", "createdat", "eventtime", "ts"),
    "position": ("position", "pos", "order", "step", "sequence"),
    "rating": ("rating", "overall", "score", "stars", "ratingvalue"),
    "title": ("title", "itemtitle", "movietitle", "producttitle", "itemname", "productname", "name"),
    "description": ("description", "plot", "overview", "abstract", "summary"),
}
"""Role -> names by which a column is taken for it, best first; case, spaces, dashes and underscores do not count."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "genres": ("genres", "genre", "class"),
    "category": ("category", "categories", "maincategory"),
    "director": ("director", "directors"),
    "author": ("author", "authors", "artist", "artists"),
    "brand": ("brand", "store", "manufacturer"),
    "platform": ("platform", "platforms"),
    "year": ("year", "releaseyear"),
    "decade": ("decade",),
    "tags": ("tags", "tag", "keywords"),
}
"""Attribute -> names by which a column of an item table is taken for it."""

MISSING = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A")
"""Written for 'nothing' in text tables; as the name of a user or an item they mean a missing one."""

_YEAR_10000 = 253_402_300_800
_EXACT = 2.0**53
ATTRIBUTE = "attributes."
LABELS, NUMBERS = "labels.", "numbers."
"""Before the name of what else a log tells of each event: names, or numbers."""


def take_columns(table: Table, given: Mapping[str, str], *, needed: Iterable[str]) -> dict[str, str]:
    """Role or 'attributes.NAME' -> column of `table`: those of `given`, the others by their names.

    An unknown role is a `ConfigError`; a column that is not there, or a needed role that no column plays, a `DataError`.
    """
    columns = table.columns
    taken: dict[str, str] = {}
    for role, column in given.items():
        if role not in ROLES and not role.startswith((ATTRIBUTE, LABELS, NUMBERS)):
            more = "an attribute is written 'attributes.NAME', what else is known of an event 'labels.NAME' or 'numbers.NAME'"
            raise ConfigError(f"unknown column role '{role}'{suggestion(role, ROLES)} ({more})")
        if column in columns:
            taken[role] = column
    keys = {re.sub(r"[^a-z]", "", column.split(":")[0].lower()): column for column in reversed(columns)}
    known = dict(ROLES) | {ATTRIBUTE + name: names for name, names in ATTRIBUTES.items()}
    for role, names in known.items():
        free = [keys[name] for name in names if name in keys and keys[name] not in taken.values()]
        if role not in given and free:
            taken[role] = free[0]
    for role in needed:
        if role in taken:
            continue
        if role in given:
            raise DataError(f"{table.origin}: there is no column '{given[role]}'{suggestion(given[role], columns)}")
        near = suggestion(role, columns)
        raise DataError(f"{table.origin}: no column looks like the {role}{near}; say which one it is:  --column {role}=NAME")
    return taken


def refuse_unknown_columns(given: Mapping[str, str], tables: Iterable[Table]) -> None:
    """A `DataError` for a column of `given` that none of `tables` has."""
    known = [column for table in tables for column in table.columns]
    for column in given.values():
        if column not in known:
            origins = " nor ".join(table.origin for table in tables)
            raise DataError(f"{origins}: there is no column '{column}'{suggestion(column, known)}")


def named(table: Table, given: Mapping[str, str], *, needed: Iterable[str]) -> dict[str, pl.DataType | None]:
    """The columns that play a part, and as what they are kept: texts that recur in many rows are kept once."""
    kept: dict[str, pl.DataType | None] = {}
    for role, column in take_columns(table, given, needed=needed).items():
        recurs = role in ("user", "item", "title", "description") or role.startswith((ATTRIBUTE, LABELS))
        kept[column] = pl.Categorical() if recurs and table.frame.schema[column] == pl.String else None
    return kept


def names(table: Table, column: str) -> pl.Series:
    """The column as outside names: categories, null where there is none; 12.0 (a float that a missing value made) is '12'.

    A name is looked at once, however many rows have it.
    """
    values = table.frame[column]
    if values.dtype.is_nested():
        raise DataError(f"{table.origin}: the column '{column}' holds {values.dtype}, but one name per row is needed")
    distinct = values.unique()
    plain = distinct
    if values.dtype.is_float():
        whole = distinct.fill_nan(None)
        if ((whole.drop_nulls() % 1 == 0) & (whole.drop_nulls().abs() < _EXACT)).all():
            plain = whole.cast(pl.Int64)
    text = plain.cast(pl.String).str.strip_chars()
    text = text.set(text.is_in(list(MISSING)), None).cast(pl.Categorical)
    known = pl.DataFrame({"value": distinct, column: text})
    return pl.DataFrame({"value": values}).join(known, on="value", how="left", nulls_equal=True, maintain_order="left")[column]


def numbers(table: Table, column: str) -> pl.Series:
    """The column as float64, null where nothing or NaN stands; another word or an infinite number is a `DataError`."""
    values = table.frame[column]
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        text = text.set(text.is_in(list(MISSING)), None)
        parsed = text.cast(pl.Float64, strict=False)
        _refuse(table, column, text, bad=parsed.is_null() & text.is_not_null(), why="which is not a number")
    elif values.dtype.is_numeric() or values.dtype == pl.Null:
        parsed = values.cast(pl.Float64)
    else:
        raise DataError(f"{table.origin}: the column '{column}' holds {values.dtype}, but numbers are needed")
    _refuse(table, column, values, bad=parsed.is_infinite().fill_null(False), why="which is not a finite number")
    return parsed.fill_nan(None)


def times(table: Table, column: str) -> tuple[pl.Series, str]:
    """The column as seconds since 1970 (int64, null where nothing stands), and a note on the unit, '' for plain seconds.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by their size (a median from 1e11, 1e14, 1e17 on); text is
    such a number or an ISO date or date-time, taken as UTC where it names no zone.
    """
    values = table.frame[column]
    if values.dtype in (pl.Date, pl.Datetime):
        return _plausible(table, column, values.dt.epoch("s")), ""
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        text = text.set(text.is_in(list(MISSING)), None)
        filled = text.drop_nulls()
        if len(filled) and not _is_number(filled[0]):
            return _plausible(table, column, _dates(table, column, text)), ""
    numeric = numbers(table, column)
    size = numeric.drop_nulls().abs().median()
    middle = float(size) if isinstance(size, int | float) else 0.0
    unit, divisor = next(
        (name, divisor)
        for name, divisor, least in (("nanoseconds", 1e9, 1e17), ("microseconds", 1e6, 1e14), ("milliseconds", 1e3, 1e11), ("", 1.0, 0.0))
        if middle >= least
    )
    seconds = _plausible(table, column, (numeric / divisor).floor()).cast(pl.Int64)
    return seconds, f"the times in '{column}' are {unit}; they were turned into seconds" if unit else ""


def _dates(table: Table, column: str, text: pl.Series) -> pl.Series:
    """ISO dates and date-times as seconds."""
    zoned = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    frame = pl.DataFrame({"zoned": zoned.dt.replace_time_zone(None)})
    for style in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        frame = frame.with_columns(text.str.to_datetime(style, time_unit="us", strict=False).alias(style))
    parsed = frame.select(pl.coalesce(pl.all())).to_series()
    why = "which is no time that can be read: write seconds since 1970 or an ISO date such as 2019-07-31 18:00:00"
    _refuse(table, column, text, bad=parsed.is_null() & text.is_not_null(), why=why)
    return parsed.dt.epoch("s")


def _plausible(table: Table, column: str, seconds: pl.Series) -> pl.Series:
    """`seconds`, none of them before 1970, since -1 is what an unknown time is written as, or after the year 9999."""
    for bad, why in ((seconds < 0, "a time before 1970"), (seconds >= _YEAR_10000, "a time after the year 9999")):
        _refuse(table, column, table.frame[column], bad=bad.fill_null(False), why=why)
    return seconds


def _refuse(table: Table, column: str, values: pl.Series, *, bad: pl.Series, why: str) -> None:
    rows = bad.arg_true()
    if len(rows):
        more = f" ({len(rows):,} rows are like it)" if len(rows) > 1 else ""
        raise DataError(f"{table.where(int(rows[0]))}: column '{column}' holds '{values[int(rows[0])]}', {why}{more}")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", text) is not None

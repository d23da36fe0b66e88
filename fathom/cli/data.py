"""`fathom data`: import a log, check a dataset, get a public one."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Import, check and get data.", no_args_is_help=True)

Source = Annotated[
    Path, typer.Argument(help="A file or folder: MovieLens, Amazon, RecBole, a dataset, or a table of your own.", show_default=False)
]


@app.command("import")
def import_source(
    source: Source,
    folder: Annotated[Path, typer.Argument(help="Where the dataset is written.", show_default=False)],
    format: Annotated[str | None, typer.Option(help="The layout of the source; found out where not given.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="ROLE=COLUMN, e.g. user=customer; may be given several times.")] = None,
    items: Annotated[Path | None, typer.Option(help="A table of the items.")] = None,
    separator: Annotated[str | None, typer.Option(help="What separates the fields of a text table.")] = None,
    encoding: Annotated[str, typer.Option(help="How a text table is encoded.")] = "utf-8",
    name: Annotated[str | None, typer.Option(help="What the dataset is called.")] = None,
    renumber: Annotated[int | None, typer.Option(help="Seed of a random order of item ids.", min=0)] = None,
    repeats: Annotated[bool, typer.Option("--repeats", help="Keep a user's later interactions with the same item.")] = False,
    reviews: Annotated[bool, typer.Option("--reviews", help="Keep what people wrote (Amazon).")] = False,
    core: Annotated[int | None, typer.Option(help="Keep users and items with at least so many interactions.", min=1)] = None,
    rating: Annotated[float | None, typer.Option(help="Keep interactions rated at least so.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Keep interactions from this day on (2019-07-31, UTC).")] = None,
    end: Annotated[str | None, typer.Option("--until", help="Keep interactions before this day.")] = None,
) -> None:
    """Turn a log in any known layout into a dataset folder, and tell what was left out or mended."""
    from rich.console import Console

    from fathom.data.filters import k_core, rating_at_least, time_window
    from fathom.data.sources import read

    dataset = read(
        source,
        format=format,
        columns=_roles(column or []),
        items=items,
        separator=separator,
        encoding=encoding,
        name=name,
        renumber=renumber,
        repeats=repeats,
        reviews=reviews,
    )
    if start is not None or end is not None:
        dataset = time_window(dataset, start, end)
    if rating is not None:
        dataset = rating_at_least(dataset, rating)
    if core is not None:
        dataset = k_core(dataset, core, core)
    dataset.save(folder)
    console = Console(highlight=False)
    console.print(f"[bold]{dataset.summary()}[/bold]")
    for note in dataset.notes:
        console.print(f"  {note}", markup=False)
    if dataset.licence:
        console.print(f"terms: {dataset.licence}", markup=False)
    console.print(f"written to {folder}, fingerprint {dataset.fingerprint[:12]}", markup=False)


@app.command("check")
def check_source(source: Source) -> None:
    """Print what a dataset is like and what is wrong with it: counts, ties, titles, cold items, leaks."""
    from rich.console import Console

    from fathom.data.doctor import check, render
    from fathom.data.sources import read

    Console(highlight=False).print(render(check(read(source))))


@app.command("get")
def get_public(
    name: Annotated[
        str, typer.Argument(help="movielens-100k, -1m, -20m, -25m, -latest-small, amazon-2018-CATEGORY, amazon-2023-CATEGORY.")
    ],
    into: Annotated[Path, typer.Option(help="Where its folder is put.")] = Path("data"),
    from_dir: Annotated[Path | None, typer.Option("--from", help="Take the files from this folder instead of the network.")] = None,
) -> None:
    """Fetch a public data set from its official address, check it, and tell its terms."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from fathom.data.download import DOWNLOADS, get

    console = Console(highlight=False)
    if name in DOWNLOADS:
        console.print(f"terms: {DOWNLOADS[name].licence}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(name, total=None)
        folder = get(name, into, from_dir, progress=lambda so_far, total: bars.update(bar, completed=so_far, total=total or None))
    console.print(f"{name} is in {folder}; next:  fathom data import {folder} DATASET", markup=False)


def _roles(pairs: list[str]) -> dict[str, str]:
    """`ROLE=COLUMN` pairs as a mapping; anything else is a `ConfigError`."""
    from fathom.errors import ConfigError

    roles: dict[str, str] = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not (role and equals and column):
            raise ConfigError(f"--column '{pair}' is not ROLE=COLUMN: write for example  --column user=customer_id")
        roles[role] = column
    return roles

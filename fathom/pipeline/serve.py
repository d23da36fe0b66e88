"""`fathom serve`: runs are opened and put behind one service."""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from fathom.contracts import Recommender
from fathom.errors import ConfigError, MissingExtraError, suggestion
from fathom.evaluation.results import Results, read
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.models.item_knn import ItemKNN
from fathom.pipeline.methods import opened, table_of
from fathom.pipeline.sequential.index import indexed, indexed_rows
from fathom.pipeline.table import Table
from fathom.pipeline.workshop import LanguageWorkshop, Workshop, whole_histories
from fathom.recipes import from_words
from fathom.records import Catalog, Floats
from fathom.reports.tables import metric_title

try:
    import uvicorn

    from fathom.serving.app import service_app
    from fathom.serving.limits import Limits
    from fathom.serving.live import LiveShelves
    from fathom.serving.offer import Offer
    from fathom.serving.store.store import Store, without_password
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "fastapi", "serve") from error

DRAIN = 30
"""Seconds for which requests under way may go on once the service is told to end."""


def serve_runs(
    folders: Sequence[Path],
    *,
    host: str,
    port: int,
    model: str,
    state: str,
    keys_variable: str,
    origins: Sequence[str],
    limits: Sequence[str],
    approximate: bool = False,
    at: str = "",
) -> None:
    """Serve until the process is told to end; with `approximate`, models that have an index are asked through it."""
    keys = _keys(keys_variable)
    chosen = from_words(limits, Limits, option="--limit")
    if at and not approximate:
        raise ConfigError("--at says where indices are: write --approximate as well")
    offers = _offers(folders, model=model, approximate=approximate, at=at)
    place = state or str(folders[0] / "state.db")
    store = Store(place)
    app = service_app(offers, store, limits=chosen, keys=keys, origins=origins)
    console = Console(highlight=False)
    for offer in offers:
        console.print(f"{offer.name}: {len(offer.models)} models, {offer.default} answers where nobody is named")
    console.print(f"state: {without_password(place)}{'' if keys else '; anybody may call, no key is asked for'}")
    console.print(f"page: http://{host}:{port}   routes: http://{host}:{port}/docs")
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=DRAIN, ws="none")
    finally:
        store.close()


def serve_to_agents(folders: Sequence[Path], *, model: str, state: str) -> None:
    """Serve the same as tools of the Model Context Protocol, over standard input and output, until the other side has gone."""
    from fathom.serving.tools import serve_tools  # with it comes the protocol, which no other service needs

    offers = _offers(folders, model=model)
    place = state or str(folders[0] / "state.db")
    store = Store(place)
    Console(stderr=True, highlight=False).print(f"tools for {', '.join(offer.name for offer in offers)}; state: {without_password(place)}")
    try:
        asyncio.run(serve_tools(service_app(offers, store)))
    finally:
        store.close()


def _offers(folders: Sequence[Path], *, model: str, approximate: bool = False, at: str = "") -> list[Offer]:
    """Of all runs; `model` is the first one's choice."""
    offers = [offer_of(folder, model=model if number == 0 else "", approximate=approximate, at=at) for number, folder in enumerate(folders)]
    names = [offer.name for offer in offers]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two of the runs are called '{twice}': serve one of them, or give the other another folder")
    return offers


def offer_of(folder: Path, *, model: str = "", approximate: bool = False, at: str = "") -> Offer:
    """What a run brings into a service; `model` answers where nobody is named, the run's own choice where it is ''.

    With `approximate`, models that have an index, in Qdrant where `at` says so, are asked through it.
    """
    work = opened(folder)
    table = table_of(work)
    models = _models(table)
    if not models:
        raise ConfigError(f"{folder}: nothing in this run recommends yet; finish it: fathom run {folder}/recipe.yaml --out {folder}")
    if approximate:
        models |= {name: partial(indexed, folder, name, at=at) for name in indexed_rows(folder, models, at=at)}
    if model and model not in models:
        raise ConfigError(f"--model {model}: the run has no such model that is trained{suggestion(model, models)}")
    log, names = work.dataset.interactions, work.dataset.interactions.users
    own = [name for name in table.protagonists if name in models]
    return Offer(
        name=folder.resolve().name,
        method=work.recipe.method,
        catalog=work.catalog,
        people=dict(zip(names, whole_histories(log), strict=True)),
        asked={names[case.user]: case for case in work.test_cases if case.user >= 0 and case.target},
        models=models,
        agents=frozenset(name for name in table.agents if name in models),
        hearing=frozenset(name for name in table.hearing if name in models),
        growing=frozenset(name for name in table.growing if name in models),
        default=model or (own[-1] if own else next(reversed(models))),
        shelves=_shelves(work),
        raters=table.raters() if log.ratings is not None else {},
        figures=_figures(folder, table),
    )


def _models(table: Table) -> dict[str, Callable[[], Recommender]]:
    """Every row of the run that can recommend to anybody and has been trained."""
    makers = {**table.recommenders(), **table.served()}
    for name in table.ceilings():
        makers.pop(name, None)
    return {name: make for name, make in makers.items() if all(table.work.folder(stage).is_dir() for stage in table.needs.get(name, ()))}


def _shelves(work: Workshop) -> LiveShelves:
    """What the run's texts and training events say of items."""
    encoder = text_encoder(work.recipe.encoder if isinstance(work, LanguageWorkshop) else "minilm")

    def vectors(catalog: Catalog) -> Floats:
        return item_vectors(catalog, encoder, cache_folder())

    return LiveShelves(encoder, vectors, work.counts, ItemKNN.of(work.split.train, work.catalog.n_items))


def _figures(folder: Path, table: Table) -> dict[str, str]:
    """Model -> its first figure in the run's table."""
    if not (folder / "results.json").is_file():
        return {}
    results: Results = read(folder / "results.json")
    metric = table.shown[0]
    return {
        row.model: f"{metric_title(metric)} {row.metrics[metric]:.4f}".replace(" 0.", " .") for row in results.rows if metric in row.metrics
    }


def _keys(variable: str) -> list[str]:
    if not variable:
        return []
    keys = [key.strip() for key in os.environ.get(variable, "").split(",") if key.strip()]
    if not keys:
        raise ConfigError(f"--keys-variable {variable}: there is no such environment variable, or it holds no key")
    return keys

"""`fathom serve`: what other programs call over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Serve over HTTP.", no_args_is_help=True)


@app.callback()
def serve() -> None:
    """Serve over HTTP."""


@app.command()
def retrieval(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, as made by 'fathom run'.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8_600,
    training: Annotated[
        bool, typer.Option("--training", help="Serve the retriever that never saw the episodes' targets: for reinforcement learning.")
    ] = False,
) -> None:
    """Serve a run's retriever, for agents that play on other machines. Ask GET /healthz whether it is up."""
    from fathom.errors import ConfigError, DataError, MissingExtraError
    from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
    from fathom.pipeline.methods import opened

    work = opened(folder)
    if not isinstance(work, DeepRecWorkshop):
        raise ConfigError(f"{folder}: a run of '{work.recipe.method}' has no retriever to serve; only one of 'deeprec' has")
    stage = "retriever-fit" if training else "retriever"
    if not work.folder(stage).is_dir():
        raise DataError(
            f"{folder}: there is no '{stage}' in it yet; make it first: fathom run {folder}/recipe.yaml --out {folder} --until {stage}"
        )
    try:
        import uvicorn

        from fathom.serving.retrieval import retrieval_app
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from error

    uvicorn.run(retrieval_app(work.episode_retriever if training else work.retriever, work.catalog), host=host, port=port, log_level="info")

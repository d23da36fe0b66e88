"""`fathom lend`: a part of a run, for programs on other machines."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Lend a part of a run to other machines, over HTTP.", no_args_is_help=True)


@app.callback()
def lend() -> None:
    """Lend a part of a run to other machines, over HTTP."""


@app.command()
def retriever(
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


@app.command()
def llm(
    model: Annotated[
        str,
        typer.Argument(
            help="A language model: its folder in a run, such as runs/demo/lm, or any of transformers' own.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8_700,
    name: Annotated[str, typer.Option(help="What clients call the model.")] = "fathom",
    key_variable: Annotated[
        str, typer.Option(help="Environment variable with the key that clients must bring; none is needed without.")
    ] = "",
) -> None:
    """Serve a language model to whatever speaks with OpenAI's. Clients take http://HOST:PORT/v1 as their base address."""
    import os

    from fathom.errors import ConfigError, MissingExtraError
    from fathom.training.processes import processes

    key = os.environ.get(key_variable, "") if key_variable else ""
    if key_variable and not key:
        raise ConfigError(f"--key-variable {key_variable}: there is no such environment variable, or it is empty")
    try:
        import uvicorn

        from fathom.language.policy import LocalPolicy
        from fathom.serving.language import language_app
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from error

    policy = LocalPolicy.load(model, device=processes().device)
    uvicorn.run(language_app(policy, name=name, key=key), host=host, port=port, log_level="info")

"""The command `fathom`: each verb imports its work inside its body, so that help is instant."""

import gc
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from fathom.cli import data, lend, rewards
from fathom.errors import FathomError, MissingExtraError, extra_of

app = typer.Typer(
    name="fathom",
    help="""Recommenders that reason: a language model questions a recommender for a user, and learns to.

    Start here:  fathom run recipes/demo.yaml   then open the page whose path it prints.""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data.app, name="data")
app.add_typer(rewards.app, name="rewards")
app.add_typer(lend.app, name="lend")

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run, as made by 'fathom run'.", show_default=False)]
Overrides = Annotated[list[str], typer.Option("--set", help="Change one setting: key.path=value. May be repeated.", show_default=False)]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A row of the run's table, such as sasrec; where not given, what the run is about.",
        show_default=False,
    ),
]
State = Annotated[
    str,
    typer.Option(
        help="Where feedback and conversations are kept: a file, or postgresql://USER@HOST/NAME where several services share it; "
        "state.db in the first run's folder where not given.",
        show_default=False,
    ),
]
At = Annotated[
    str, typer.Option("--at", help="Qdrant that holds the index: http://HOST:6333, or qdrant:FOLDER without a server.", show_default=False)
]
Line = Annotated[int, typer.Option("--k", min=1, max=1000, help="How many items.")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="YAML file with all settings, for example recipes/demo.yaml.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/<name> where not given.", show_default=False)] = None,
    overrides: Overrides = [],  # noqa: B006  typer reads the default and never changes it
    until: Annotated[str, typer.Option(help="Stop after this stage, for example retriever.", show_default=False)] = "",
    processes: Annotated[
        int, typer.Option(min=0, help="Share the work among so many processes; 0: two where there are two cores and no GPU, else one.")
    ] = 1,
    tracker: Annotated[
        Literal["tensorboard", "trackio"] | None, typer.Option(help="Show the curves there while they grow, beside metrics.jsonl.")
    ] = None,
    like: Annotated[
        list[Path],
        typer.Option(
            help="Folder of another run: what it has done with the same settings is taken over. May be repeated.", show_default=False
        ),
    ] = [],  # noqa: B006
    at_once: Annotated[
        int, typer.Option(min=1, help="Trainings that do not need each other side by side, each by one process: the models of a table.")
    ] = 1,
    only: Annotated[str, typer.Option(help="Do this stage alone, with what it needs.", show_default=False)] = "",
) -> None:
    """Train, judge and report what a recipe describes. The same command again goes on where it was stopped."""
    from fathom.recipes import written

    written(recipe, overrides)  # a mistyped name is told at once: what comes now takes seconds to import

    from fathom.pipeline.run import run_recipe

    gc.freeze()  # what is imported stays: no collection, half a second each, need go through it again
    run_recipe(
        recipe,
        out=out,
        overrides=overrides,
        until=until,
        command=_command(),
        processes=processes,
        tracker=tracker,
        like=like,
        at_once=at_once,
        only=only,
    )


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file that names a recipe and its variants.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; runs/<name> where not given.", show_default=False)] = None,
    processes: Annotated[int, typer.Option(min=0, help="As of 'fathom run'.")] = 1,
    at_once: Annotated[int, typer.Option(min=1, help="How many variants run side by side, once the first is done.")] = 1,
) -> None:
    """Run variants of a recipe and show on one page which change pays. What two of them share is done once."""
    from fathom.recipes import written

    written(file, ())

    from fathom.pipeline.sweep import sweep_file

    sweep_file(file, out=out, processes=processes, at_once=at_once, command=_command())


@app.command()
def tune(
    recipe: Annotated[Path, typer.Argument(help="Recipe of named models (method: sequential).", show_default=False)],
    minutes: Annotated[float, typer.Option(min=0, help="How long the settings of each model are searched.")] = 20,
    models: Annotated[list[str], typer.Option("--model", help="Only this model. May be repeated.", show_default=False)] = [],  # noqa: B006
    users: Annotated[int, typer.Option(min=0, help="Trials learn from the histories of so many users; 0: of all.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="So many models are searched side by side, each by its share of the cores.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the trials; runs/<name>-tuned where not given.", show_default=False)] = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Search each model's settings for the same time, by validation cases alone, and write the recipe with the best ones."""
    from fathom.recipes import written

    written(recipe, overrides)

    from fathom.pipeline.sequential.tune import tune_file

    tune_file(recipe, minutes=minutes, models=models, out=out, overrides=overrides, command=_command(), users=users, processes=processes)


@app.command()
def evaluate(
    folder: RunFolder,
    models: Annotated[list[str], typer.Option("--model", help="Judge only these rows. May be repeated.", show_default=False)] = [],  # noqa: B006
    users: Annotated[int, typer.Option(min=0, help="Judge this many test users, drawn by the run's seed; 0: as the recipe says.")] = 0,
    beside: Annotated[
        Path | None,
        typer.Option(
            help="Another run on the same cases, or its results.json: its rows are set beside, nothing is judged.", show_default=False
        ),
    ] = None,
    rows: Annotated[list[str], typer.Option("--row", help="Only this row of the other run. May be repeated.", show_default=False)] = [],  # noqa: B006
) -> None:
    """Judge the models of a run again on its test users, or set rows of another run beside them, and write results.json anew."""
    from fathom.pipeline.again import judge_folder

    judge_folder(folder, models=models, users=users, beside=beside, rows=rows, command=_command())


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs; one alone compares its own rows.", show_default=False)],
    metric: Annotated[str, typer.Option(help="The figure to compare by, for example ndcg@10.")] = "ndcg@10",
) -> None:
    """Rows of one or more runs in one table, with paired bootstrap tests over the users they share."""
    from fathom.pipeline.compare import compare_folders

    compare_folders(folders, metric=metric)


@app.command()
def recommend(
    folder: RunFolder,
    history: Annotated[str, typer.Option(help="Titles, oldest first, separated by ';'.", show_default=False)] = "",
    preference: Annotated[
        str, typer.Option(help="What is wanted, in words: for text and for the retriever of a run of DeepRec.", show_default=False)
    ] = "",
    model: ModelName = "",
    k: Line = 10,
    approximate: Annotated[bool, typer.Option("--approximate", help="Ask through the index that 'fathom index' made.")] = False,
    at: At = "",
) -> None:
    """Recommend to anybody: titles of a history in, or what is wanted, in words, or both; titles out."""
    from fathom.pipeline.ask import recommend_to

    recommend_to(folder, history=history, preference=preference, model=model, k=k, approximate=approximate, at=at)


@app.command()
def serve(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, as made by 'fathom run'.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8_000,
    model: ModelName = "",
    state: State = "",
    keys_variable: Annotated[
        str,
        typer.Option(help="Environment variable with the keys, separated by commas, of which callers must bring one.", show_default=False),
    ] = "",
    origin: Annotated[
        list[str], typer.Option(help="Another site whose pages may call. May be repeated; none may where not given.", show_default=False)
    ] = [],  # noqa: B006
    limits: Annotated[
        list[str],
        typer.Option("--limit", help="Change one limit: k=200, waiting=1000, seconds=10 ... May be repeated.", show_default=False),
    ] = [],  # noqa: B006
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Ask models for which 'fathom index' made an index through it: for large catalogues.")
    ] = False,
    at: At = "",
) -> None:
    """Serve runs over HTTP, with a page to try them: recommend, rate, chat, search, feedback. /docs lists the routes."""
    from fathom.pipeline.serve import serve_runs

    serve_runs(
        runs,
        host=host,
        port=port,
        model=model,
        state=state,
        keys_variable=keys_variable,
        origins=origin,
        limits=limits,
        approximate=approximate,
        at=at,
    )


@app.command()
def mcp(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, as made by 'fathom run'.", show_default=False)],
    model: ModelName = "",
    state: State = "",
) -> None:
    """Serve runs to other agents as tools of the Model Context Protocol, over standard input and output.

    Give an agent this command, for example: {"command": "fathom", "args": ["mcp", "runs/demo"]}.
    """
    from fathom.pipeline.serve import serve_to_agents

    serve_to_agents(runs, model=model, state=state)


@app.command()
def explore(
    folders: Annotated[list[Path], typer.Argument(help="Folders that hold runs, such as runs/.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8_001,
) -> None:
    """Look through all runs in a browser: tables, curves, every answer kind by kind, what changed for whom."""
    from fathom.pipeline.explore import explore_folders

    explore_folders(folders, host=host, port=port)


@app.command()
def chat(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, or of a data set that 'fathom data import' made.", show_default=False)],
    user: Annotated[
        str, typer.Option(help="Name of somebody whose history is known; a stranger where not given.", show_default=False)
    ] = "",
    transcript: Annotated[
        Path | None, typer.Option(help="JSON file in which the conversation is kept, and from which it goes on.", show_default=False)
    ] = None,
    encoder: Annotated[str, typer.Option(help="Of texts: minilm, hashing, st:NAME, lm:FOLDER or http://HOST/v1#MODEL.")] = "minilm",
    llm: Annotated[
        str,
        typer.Option(
            help="Who puts what is found in order: lm:FOLDER or http://HOST/v1#MODEL; nobody where not given.", show_default=False
        ),
    ] = "",
) -> None:
    """Recommend in conversation: wishes, filters, 'more like this', 'swap the second one', 'undo'. A language model is optional."""
    from fathom.pipeline.chat import chat as talk

    talk(folder, user=user, transcript=transcript, encoder_name=encoder, llm=llm)


@app.command()
def index(
    folder: RunFolder,
    model: Annotated[str, typer.Option(help="A model that ranks by products, such as sasrec+.", show_default=False)],
    k: Line = 10,
    breadth: Annotated[int, typer.Option(min=1, help="More finds more, and takes longer.")] = 128,
    at: At = "",
) -> None:
    """For large catalogues: index a model's items, here or in Qdrant, and say how much of the exact lists the index finds."""
    from fathom.pipeline.sequential.index import index_folder

    index_folder(folder, model=model, k=k, breadth=breadth, at=at)


@app.command()
def trace(
    folder: RunFolder,
    user: Annotated[str, typer.Option(help="Name of a user; the first test user where not given.", show_default=False)] = "",
    model: ModelName = "",
    tokens: Annotated[bool, typer.Option(help="Show token by token what the model wrote and what was inserted.")] = False,
) -> None:
    """Show one conversation between language model and retriever, in colours."""
    from fathom.pipeline.ask import trace_user

    trace_user(folder, user=user, model=model, tokens=tokens)


@app.command()
def report(folder: RunFolder) -> None:
    """Write the run's page again: one HTML file without any outside request."""
    from fathom.pipeline.again import report_folder

    report_folder(folder)


@app.command()
def adopt(
    config: Annotated[Path, typer.Argument(help="A configuration of RecBole, in YAML.", show_default=False)],
    to: Annotated[Path, typer.Option(help="Recipe that is written.", show_default=False)],
) -> None:
    """Make a recipe of a RecBole configuration; says what it took and what has no counterpart."""
    from fathom.pipeline.sequential.recbole import adopt as made

    made(config, to=to)


@app.command()
def export(
    folder: RunFolder,
    to: Annotated[Path, typer.Option(help="Folder that is written to.", show_default=False)],
) -> None:
    """Write the run's lists as TREC runs with their qrels, and its table for Markdown and LaTeX."""
    from fathom.pipeline.export import export_folder

    export_folder(folder, to=to)


@app.command()
def doctor() -> None:
    """Say what works on this machine and which extra is missing."""
    from fathom.pipeline.doctor import examine

    examine()


def _command() -> str:
    """The command line as it was typed, with the bare name of the program."""
    return " ".join(["fathom", *sys.argv[1:]])


def main() -> None:
    """Entry point: a mistake that the user can mend is one message and exit code 2, never a traceback."""
    try:
        app()
    except FathomError as error:
        _tell(str(error))
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        _tell(str(MissingExtraError(error.name or "", extra)))
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _tell(
            f"out of memory ({str(error)[:200] or 'no more is told'}): take fewer processes, or where something is trained, "
            "write a smaller micro_batch, fit.batch_size or language.windows.rows_at_once; what a run has done is kept"
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _tell(message: str) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    console.print("[bold red]error[/]", end=" ")
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, a GPU or the CPU had no memory left; torch, which says the last in words, is not imported for it."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)

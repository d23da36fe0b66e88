"""`fathom chat`: recommendations in conversation, over the catalogue of a run or of a data set."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fathom.contracts import Policy
from fathom.conversation.asked import OrderSettings, PromptedOrder
from fathom.conversation.assistant import Assistant
from fathom.conversation.shelves import Shelves
from fathom.conversation.state import Answer, State, load, save
from fathom.data.dataset import Dataset
from fathom.errors import ConfigError, suggestion
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.language.remote_settings import RemoteSettings
from fathom.models.item_knn import ItemKNN
from fathom.pipeline.conversation.workshop import ConversationWorkshop
from fathom.pipeline.methods import opened
from fathom.records import Catalog

GREETING = (
    "Say what you are after, in your own words: a kind, a time, a price, something like something else. 'undo' and 'start again' help."
)


def chat(folder: Path, *, user: str, transcript: Path | None, encoder_name: str, llm: str = "") -> None:
    """Talk until the input ends. With `transcript` the conversation is kept there after every turn, and goes on from there.

    `folder`: a data set, the run of any method, or one that has learned from conversations, whose weights and language model then speak.
    `llm`: 'lm:FOLDER' or 'http://HOST/v1#MODEL', which puts what is found in order.
    """
    dataset = Dataset.load(folder / "dataset" if (folder / "dataset").is_dir() else folder)
    assistant, console = _assistant(folder, dataset, encoder_name, llm), Console(highlight=False)
    state = load(transcript) if transcript is not None and transcript.exists() else State(history_of(dataset, user))
    console.print(GREETING)
    for said in _lines(console):
        state, answer = assistant.reply(state, said)
        show(answer, dataset.catalog, console)
        if transcript is not None:
            save(state, transcript)
    if transcript is not None and state.turns:
        console.print(f"kept in {transcript}")


def _assistant(folder: Path, dataset: Dataset, encoder_name: str, llm: str) -> Assistant:
    """Whoever has learned from conversations in the run folder, else one by the rules."""
    order = PromptedOrder(policy_named(llm), dataset.catalog, OrderSettings()) if llm else None
    if (folder / "recipe.yaml").is_file():
        work = opened(folder)
        if isinstance(work, ConversationWorkshop) and work.weights_file.is_file():
            return work.assistant(order)
    words, n_items = text_encoder(encoder_name), dataset.catalog.n_items
    counts = np.bincount(dataset.interactions.items, minlength=n_items + 1).astype(np.int64)
    vectors, taken = item_vectors(dataset.catalog, words, cache_folder()), ItemKNN.of(dataset.interactions, n_items)
    return Assistant(Shelves(dataset.catalog, words, vectors, counts, taken=taken), order=order)


def policy_named(name: str) -> Policy:
    """The language model in a folder, 'lm:FOLDER', or behind an address, 'http://HOST/v1#MODEL'; any other name is a `ConfigError`."""
    if name.startswith(("http://", "https://")):
        from fathom.language.remote import RemotePolicy

        address, _, model = name.partition("#")
        if not model:
            raise ConfigError(f"--llm {name}: which model? Write {name}#MODEL, as the endpoint calls it")
        return RemotePolicy(
            RemoteSettings.model_validate({"base_url": address, "model": model, "kind": "chat"}), cache=cache_folder() / "endpoint"
        )
    if not name.startswith("lm:"):
        raise ConfigError(f"--llm {name}: write lm:FOLDER, or http://HOST/v1#MODEL")
    if not Path(name[3:]).is_dir():
        raise ConfigError(f"--llm {name}: there is no such folder")
    from fathom.language.policy import LocalPolicy

    return LocalPolicy.load(Path(name[3:]))


def history_of(dataset: Dataset, user: str) -> tuple[int, ...]:
    """What a user of the data set took, oldest first; nothing for nobody. An unknown name is a `ConfigError`."""
    if not user:
        return ()
    users = dataset.interactions.users
    if user not in users:
        raise ConfigError(f"--user {user}: the data set has no such user{suggestion(user, users) if len(users) < 20_000 else ''}")
    return tuple(dataset.interactions.history(users.index(user)).tolist())


def show(answer: Answer, catalog: Catalog, console: Console) -> None:
    """Print what is said back."""
    console.print(answer.text)
    if not answer.items:
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for place, item in enumerate(answer.items, start=1):
        reason = answer.reasons[place - 1] if answer.reasons else ""
        about = ", ".join(catalog.values(item)[:4])
        table.add_row(f"{place}.", f"[bold]{catalog.title(item)}[/]", f"[dim]{about}[/]", reason)
    console.print(table)


def _lines(console: Console) -> Iterator[str]:
    """What is typed, line by line; from a pipe what stands there."""
    while True:
        try:
            said = console.input("[bold]> [/]") if sys.stdin.isatty() else input()
        except EOFError:
            return
        if said.strip():
            yield said

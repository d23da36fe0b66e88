"""The run folder of a method that asks: the language model, and what it said."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from fathom.contracts import Policy
from fathom.evaluation.said import Said, load_said, save_said
from fathom.items.embed import cache_folder, item_vectors
from fathom.language.encoding import text_encoder
from fathom.pipeline.asking.recipe import AskingRecipe
from fathom.pipeline.workshop import Workshop
from fathom.records import Floats
from fathom.training.processes import in_shares, processes
from fathom.training.run import progress

if TYPE_CHECKING:
    from fathom.language.policy import LocalPolicy

Thing = TypeVar("Thing")

PIECE = 128
"""Cases that are asked between two times that what was said is written down."""


class AskingWorkshop(Workshop):
    """Whoever is asked, and their words."""

    recipe: AskingRecipe

    @cached_property
    def vectors(self) -> Floats:
        """(n_items + 1, d) unit text vectors, row 0 zero."""
        return item_vectors(self.catalog, text_encoder(self.recipe.encoder), cache_folder())

    @cached_property
    def who_is_asked(self) -> Policy:
        """The language model."""
        if self.recipe.endpoint is not None:
            from fathom.language.remote import RemotePolicy

            return RemotePolicy(self.recipe.endpoint, cache=cache_folder() / "endpoint")
        return self.local

    @cached_property
    def local(self) -> "LocalPolicy":
        """The language model that is here."""
        from fathom.language.policy import LocalPolicy

        return LocalPolicy.load(self.folder("lm"), device=self.device)

    def said(self, row: str, kind: type[Said]) -> list[Said]:
        """What the language model made of each case, for the row `row`."""
        return [one for file in sorted(self.folder("asked").glob(f"{row}@*.jsonl.gz")) for one in load_said(file, kind)]

    def ask(
        self,
        row: str,
        cases: Sequence[Thing],
        kind: type[Said],
        about: str,
        asker: Callable[[], Callable[[Sequence[Thing]], Sequence[Said]]],
    ) -> list[Said] | None:
        """What is said about all cases, or whatever is asked about, piece by piece and kept, so that a stopped run asks for the rest alone;
        None but for the main process.

        Several processes share a model that is here. An endpoint is asked by the main one, which knows how many questions are under way.
        """
        together = processes()
        files = [(start, self.folder("asked") / f"{row}@{start:07}.jsonl.gz") for start in range(0, len(cases), PIECE)]
        missing = [(start, file) for start, file in files if not file.is_file()]
        together.wait_for_everyone()  # all have looked before the first one is written
        alone = self.recipe.endpoint is not None
        if alone and not together.is_main_process:
            return None
        answer = asker() if missing else None
        if answer is not None and together.is_main_process:
            Console().print(f"  {row}: {about}", highlight=False)
        with progress(f"asking {row}", len(cases)) as advance:
            advance(len(cases) - sum(len(cases[start : start + PIECE]) for start, _ in missing))
            for start, file in missing:
                assert answer is not None
                part = cases[start : start + PIECE]
                said = answer(part) if alone else in_shares(answer, part)
                if together.is_main_process:
                    save_said(file, said)
                advance(len(part))
        return self.said(row, kind) if together.is_main_process else None

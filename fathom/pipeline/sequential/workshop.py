"""The run folder of named models."""

from functools import cached_property, partial

from fathom.contracts import Recommender
from fathom.data.time_windows import TimeWindow, time_windows, together
from fathom.models.model import AnyModel
from fathom.models.registry import model_of
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.sequential.timeline import Timeline
from fathom.pipeline.workshop import Workshop
from fathom.records import Split


class SequentialWorkshop(Workshop):
    """Each model lies in a folder of its own name; where it is learned again and again, in one below it for each window."""

    recipe: SequentialRecipe

    @cached_property
    def windows(self) -> tuple[TimeWindow, ...]:
        """The windows of time, the oldest first; none where models are learned once."""
        asked = self.recipe.windows
        if asked is None:
            return ()
        return time_windows(
            self.dataset.interactions,
            hours=asked.hours,
            mode=asked.mode,
            span=asked.span,
            most=asked.most,
            least=asked.least,
            valid_share=asked.valid_share,
            seed=self.recipe.seed,
        )

    @cached_property
    def split(self) -> Split:
        """What may be learned from, before the last window if there are any, and all validation and test cases."""
        return together(self.windows, self.dataset.interactions) if self.recipe.windows is not None else super().split

    def part(self, name: str, number: int) -> str:
        """Where, below the run folder, the model lies that was learned before window `number`."""
        return f"{name}/{number:04}"

    def at(self, name: str, number: int) -> AnyModel:
        """The model as it was before window `number`."""
        return model_of(name).load(self.folder(self.part(name, number)))

    def model(self, name: str) -> Recommender:
        """The model as its stage left it."""
        return Timeline(self.windows, partial(self.at, name)) if self.windows else model_of(name).load(self.folder(name))

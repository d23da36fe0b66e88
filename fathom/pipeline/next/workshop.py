"""The run folder of free recommendation."""

from fathom.pipeline.asking.workshop import AskingWorkshop
from fathom.pipeline.next.recipe import NextRecipe
from fathom.pipeline.sequential.workshop import SequentialWorkshop


class NextWorkshop(SequentialWorkshop, AskingWorkshop):
    """Models as for sequences, and whoever is asked."""

    recipe: NextRecipe

    @property
    def filled_by(self) -> str:
        """The model that fills lists up."""
        return self.recipe.filled_by or self.recipe.models.names[-1]

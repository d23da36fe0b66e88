"""The run folder of named models."""

from fathom.models.model import AnyModel
from fathom.models.registry import MODELS
from fathom.pipeline.sequential.recipe import SequentialRecipe
from fathom.pipeline.workshop import Workshop


class SequentialWorkshop(Workshop):
    """Each model lies in a folder of its own name."""

    recipe: SequentialRecipe

    def model(self, name: str) -> AnyModel:
        """The model as its stage left it."""
        return MODELS[name].load(self.folder(name))

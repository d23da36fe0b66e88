"""SASRec: causal self-attention over what somebody took, answered by a dot product with tied item vectors (arXiv:1808.09781)."""

from pathlib import Path

from pydantic import Field
from torch import Tensor

from fathom.files import Json
from fathom.recommenders.encoders import CausalEncoder, initialise
from fathom.recommenders.sequence import SequenceNetwork
from fathom.recommenders.text_items import TextItems
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded, save_weights
from fathom.settings import Settings


class SASRecSettings(Settings):
    """The size of the model. The paper's own: width 50, two layers, one head, length 200 on MovieLens-1M."""

    width: int = Field(default=64, ge=2)
    """Numbers in an item vector."""
    layers: int = Field(default=2, ge=1)
    """Transformer layers."""
    heads: int = Field(default=2, ge=1)
    """Attention heads per layer; they share the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=200, ge=1)
    """Newest events that are read."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in training, after the embedding and after each half of a layer."""


class SASRec(SequenceNetwork):
    """Causal self-attention over the items' vectors."""

    def __init__(self, n_items: int, settings: SASRecSettings, *, items: TextItems | None = None) -> None:
        super().__init__(n_items, settings.width, settings.length, items=items)
        self.settings = settings
        if items is None:
            initialise(self)
        self.encoder = CausalEncoder(
            settings.width,
            length=settings.length,
            layers=settings.layers,
            heads=settings.heads,
            inner=settings.inner,
            dropout=settings.dropout,
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T, d) float32: what is expected after each of the ids (B, T), padded on the right."""
        states: Tensor = self.encoder(self.items(ids))
        return states

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, whole or not at all."""
        facts: dict[str, Json] = {"kind": "sasrec", "n_items": self.n_items, "settings": self.settings.model_dump(mode="json")}
        save_weights(folder, self.state_dict(), facts)

    @classmethod
    def load(cls, folder: Path) -> "SASRec":
        """The model saved in `folder`, ready to be asked."""
        facts = read_facts(folder, "sasrec")
        model = cls(int(str(facts["n_items"])), recorded(facts, SASRecSettings, folder))
        put_weights(model, read_tensors(folder), folder)
        return model.eval()

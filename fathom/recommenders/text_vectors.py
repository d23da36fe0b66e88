"""Item vectors of a network from item texts: as they begin, as they stay, or as what is mapped (E8)."""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from fathom.records import PAD, Floats
from fathom.settings import Settings

ORIGINAL = "parametrizations.weight.original"
"""Behind an embedding's name: the text vectors that are mapped."""


class TextVectorSettings(Settings):
    """Where item vectors come from."""

    encoder: str = "minilm"
    """Makes vectors of item texts: minilm, hashing, st:NAME, lm:FOLDER or http://HOST/v1#MODEL."""
    use: Literal["initial", "frozen", "projected"] = "initial"
    """'initial': the first principal components of the texts are what training begins with. 'frozen': they stay. 'projected': the texts
    stay, and one linear map of them is learned."""
    permuted: bool = Field(default=False)
    """Each item has another one's text, drawn once: the control that shows whether texts mean anything to the network."""


def furnish(table: nn.Embedding, vectors: Floats, settings: TextVectorSettings) -> None:
    """Give an embedding of items the `vectors` (n_items + 1, D) of their texts; `PAD` keeps what it had, or zero where texts are mapped."""
    known = torch.from_numpy(vectors[permutation(len(vectors) - 1)] if settings.permuted else vectors)
    if settings.use == "projected":
        project(table, known.shape[1])
        with torch.no_grad():
            table.parametrizations.weight.original.copy_(known)  # type: ignore[union-attr,operator]
        return
    with torch.no_grad():
        deviation = table.weight[PAD + 1 :].std()
        table.weight[PAD + 1 :] = components(known[PAD + 1 :], table.weight.shape[1]) * deviation
    table.weight.requires_grad_(settings.use == "initial")


def project(table: nn.Embedding, width: int) -> None:
    """Make an embedding's vectors a linear map of `width` numbers for each row, which stay as they are."""
    size = table.weight.shape[1]
    table.weight = nn.Parameter(torch.zeros(len(table.weight), width), requires_grad=False)
    register_parametrization(table, "weight", Mapped(width, size), unsafe=True)


class Mapped(nn.Module):
    """A linear map without a constant: what has no text has no vector."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, size, bias=False)

    def forward(self, texts: Tensor) -> Tensor:
        """(N + 1, size) from (N + 1, width)."""
        mapped: Tensor = self.map(texts)
        return mapped


def components(vectors: Tensor, width: int) -> Tensor:
    """(N, width) the first principal components of `vectors` (N, D), each of deviation 1; noise where there are fewer."""
    centred = (vectors - vectors.mean(dim=0)).double()
    left, strength, _ = torch.linalg.svd(centred, full_matrices=False)
    kept = min(width, int((strength > 1e-6 * strength.max().clamp_min(1e-12)).sum()))
    found = torch.randn(len(vectors), width, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    found[:, :kept] = left[:, :kept] * len(vectors) ** 0.5
    return found.float()


def permutation(n_items: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(n_items + 1,) another item in the place of each, the same one in every run; `PAD` stays."""
    order = np.random.default_rng(0).permutation(n_items) + 1
    return np.concatenate([[PAD], order]).astype(np.int64)

"""The preference-aware retriever as a module: a history and a stated wish become one vector that is compared with all items."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from fathom.data.batches import pad_right
from fathom.recommenders.adaptors import FrequencyMixing, MixtureAdaptor, PlainAdaptor
from fathom.recommenders.encoders import BidirectionalEncoder, CausalEncoder, initialise
from fathom.recommenders.sequence import as_sequences
from fathom.records import PAD
from fathom.settings import Settings


class RetrieverSettings(Settings):
    """The retriever's make. DeepRec's released one: tedrec, width 128, length 20, inner 512, dropout 0.5, frequency, ids."""

    backbone: Literal["causal", "tedrec"] = "causal"
    """'causal' learns from every position of a window at once; 'tedrec' reads one history both ways and learns from its end."""
    width: int = Field(default=64, ge=2)
    """Numbers in an item vector."""
    layers: int = Field(default=2, ge=1)
    """Transformer layers."""
    heads: int = Field(default=2, ge=1)
    """Attention heads per layer; they share the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=200, ge=2)
    """Newest events that are read."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in training inside the backbone."""
    adaptor: Literal["moe", "plain"] = "moe"
    """Takes text vectors, of items and of preferences alike, to the item space: a mixture of experts, or one linear map."""
    experts: int = Field(default=8, ge=1)
    """Linear maps in the mixture."""
    adaptor_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of a text vector's entries zeroed in training."""
    loudness: float = Field(default=0.3, gt=0)
    """Length of an adapted wish before training, as a share of that of what the history says: wishes are multiplied by a constant that
    makes it so. Without one, as DeepRec writes it, a wish begins at a fiftieth and is not heard for many epochs."""
    mixing: Literal["plain", "frequency"] = "plain"
    """How ids and texts of a history come together: added, or multiplied in the frequency domain (tedrec only)."""
    candidates: Literal["fused", "ids"] = "fused"
    """Item vectors that are scored: id plus adapted text, or the id's alone as in the released code."""
    fusion: Literal["ln_cos", "mean_dot"] = "ln_cos"
    """History h and wish q: cosine with LN(h + q), as in the released code, or dot product with (h + q) / 2, as the paper is described."""
    temperature: float = Field(default=0.07, gt=0)
    """Scores are divided by it in training, for ln_cos."""

    @model_validator(mode="after")
    def _one_way_only(self) -> Self:
        if self.backbone == "causal" and self.mixing == "frequency":
            raise ValueError("mixing 'frequency' filters over the whole window, future included: write mixing 'plain' or backbone 'tedrec'")
        return self


class RetrieverModel(nn.Module):
    """Item ids, item texts, backbone and fusion (deeprec.md, 3.2). Text vectors are given and stay as they are."""

    texts: Tensor

    def __init__(self, text_vectors: Tensor, settings: RetrieverSettings) -> None:
        """`text_vectors` is (N + 1, D): row 0 zero, the others of unit norm or zero."""
        super().__init__()
        self.settings = settings
        self.n_items = len(text_vectors) - 1
        self.register_buffer("texts", text_vectors.clone())
        self.ids = nn.Embedding(self.n_items + 1, settings.width)
        initialise(self)
        self.adaptor = _adaptor(text_vectors.shape[1], settings)
        self._wish_scale = settings.loudness / self.adaptor.untrained_size
        self.backbone = _backbone(settings)
        self.mixing = FrequencyMixing(settings.width, settings.length) if settings.mixing == "frequency" else None
        self.norm = nn.LayerNorm(settings.width) if settings.fusion == "ln_cos" else None

    def items(self) -> tuple[Tensor, Tensor]:
        """All items' adapted texts, and the vectors they are scored by, which for ln_cos are of unit norm; both (N + 1, d)."""
        texts = self.adaptor(self.texts).float()
        scored = self.ids.weight + texts if self.settings.candidates == "fused" else self.ids.weight
        return texts, normalize(scored, dim=1) if self.settings.fusion == "ln_cos" else scored

    def states(self, ids: Tensor, texts: Tensor, lengths: Tensor) -> Tensor:
        """What the history says: ids (B, T) padded on the right, `texts` as `items` gives them.

        causal: (B, T, d), one state at each position; tedrec: (B, d), at the last of `lengths`, T must be the full length.
        """
        # Not texts[ids]: the gradients of an item that stands in many places would be added up in whatever order threads arrive.
        id_vectors, text_vectors = self.ids(ids), embedding(ids, texts)
        mixed = id_vectors + text_vectors if self.mixing is None else self.mixing(id_vectors, text_vectors)
        states: Tensor = self.backbone(mixed) if self.settings.backbone == "causal" else self.backbone(mixed, lengths)
        return states

    def wishes(self, preferences: Tensor) -> Tensor:
        """(M, d) from the text vectors (M, D) of stated preferences; zero, exactly, from zero."""
        wishes: Tensor = self.adaptor(preferences).float() * self._wish_scale
        return wishes

    def queries(self, states: Tensor, wishes: Tensor) -> Tensor:
        """(M, d): what items are compared with; of unit norm for ln_cos."""
        if self.norm is None:
            return (states + wishes) / 2
        return normalize(self.norm(states + wishes), dim=1)

    def sharpness(self) -> float:
        """What scores are multiplied by in training."""
        return 1 / self.settings.temperature if self.settings.fusion == "ln_cos" else 1.0

    def last_states(self, histories: Sequence[Sequence[int]], texts: Tensor) -> Tensor:
        """(B, d) what each history says at its end."""
        if self.settings.backbone == "tedrec":
            newest = [tuple(history[-self.settings.length :]) or (PAD,) for history in histories]
            ids = torch.from_numpy(pad_right(newest, self.settings.length))
            return self.states(ids.to(texts.device), texts, torch.tensor([len(row) for row in newest], device=texts.device))
        ids, last = as_sequences(histories, self.settings.length, n_items=self.n_items)
        states = self.states(ids.to(texts.device), texts, last + 1)
        return states[torch.arange(len(ids)), last]


def _adaptor(text_width: int, settings: RetrieverSettings) -> MixtureAdaptor | PlainAdaptor:
    if settings.adaptor == "plain":
        return PlainAdaptor(text_width, settings.width, dropout=settings.adaptor_dropout)
    return MixtureAdaptor(text_width, settings.width, experts=settings.experts, dropout=settings.adaptor_dropout)


def _backbone(settings: RetrieverSettings) -> nn.Module:
    kind = CausalEncoder if settings.backbone == "causal" else BidirectionalEncoder
    return kind(
        settings.width,
        length=settings.length,
        layers=settings.layers,
        heads=settings.heads,
        inner=settings.inner,
        dropout=settings.dropout,
    )

"""What is said of states: the next item, or of the whole sequence a class or a number."""

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from fathom.errors import ConfigError, DataError
from fathom.metrics import area_under_curve
from fathom.networks.schema import Column, Tag
from fathom.records import PAD
from fathom.settings import Settings
from fathom.training.full_softmax import full_softmax
from fathom.training.ranking_losses import ranking_loss
from fathom.training.sampled import chances, held


class NextItemSettings(Settings):
    """How states are compared with items: logits = (h U + b) / temperature."""

    tied: bool = True
    """U is the table that items are read by; otherwise one of its own."""
    temperature: float = Field(default=1.0, gt=0)
    """Logits are divided by it."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: this share of the target's weight is spread over all items."""
    loss: Literal["softmax", "sampled_softmax", "bce", "gbce", "bpr", "top1", "top1_max", "bpr_max"] = "softmax"
    """How the true item is set against the others: against all of them, or against drawn ones."""
    negatives: int = Field(default=256, ge=1)
    """Items drawn for a batch, unless the loss is the softmax over all."""
    exponent: float = Field(default=0.0, ge=0, le=1)
    """Of the counts by which they are drawn: 0 all alike, 1 by popularity."""
    calibration: float = Field(default=0.75, ge=0, le=1)
    """Of `gbce` (t): 0 plain BCE, 1 scores as calibrated as with all items for rivals."""

    @model_validator(mode="after")
    def _all_or_drawn(self) -> Self:
        if self.smoothing and self.loss != "softmax":
            raise ValueError(f"smoothing spreads weight over all items, and {self.loss} looks at drawn ones: write loss: softmax")
        return self


class SequenceHeadSettings(Settings):
    """What is asked of a whole sequence beside its next item."""

    summary: Literal["last", "first", "mean", "attention"] = "last"
    """What stands for the sequence: the state of the last real event, of the first, the mean of the real ones, or one by attention."""
    hidden: int = Field(default=0, ge=0)
    """Width of a layer between the summary and what is said; 0: none."""
    weight: float = Field(default=1.0, ge=0)
    """Of its loss beside the others."""


class FusionSettings(Settings):
    """How a context that is no part of the sequence joins the states behind the block."""

    how: Literal["concat", "sum", "multiply"] = "concat"
    """h beside c through a linear map, h + W c, or h (1 + W c)."""
    width: int = Field(default=1, ge=1)
    """Numbers in the context."""


class NextItem(nn.Module):
    """Scores all items; its table is shared with whoever reads them if it is tied."""

    def __init__(self, items: nn.Embedding, width: int, settings: NextItemSettings, *, counts: Tensor | None = None) -> None:
        """`counts` (V,): how often each item was taken; needed where rivals are drawn by it."""
        super().__init__()
        self.settings = settings
        self.projection = nn.Linear(width, items.embedding_dim) if width != items.embedding_dim else nn.Identity()
        self.items = items if settings.tied else nn.Embedding(items.num_embeddings, items.embedding_dim)
        self.bias = nn.Parameter(torch.zeros(items.num_embeddings))
        if settings.loss != "softmax":
            n_items = items.num_embeddings - 1
            if settings.exponent and counts is None:
                raise ConfigError("next_item.exponent draws rivals by how often items were taken: give their counts, or write exponent: 0")
            shares = chances(np.ones(n_items + 1) if counts is None else counts.double().numpy(), settings.exponent)
            self._compare = ranking_loss(settings.loss, drawn=settings.negatives, n_items=n_items, calibration=settings.calibration)
            self.register_buffer("steps", torch.from_numpy(np.cumsum(shares)))  # saved: whoever goes on has other counts, or none

    def loss(self, states: Tensor, targets: Tensor, taken: Tensor | None = None) -> Tensor:
        """The sum over states (M, d) of how `targets` (M,), ids from 1, stand against all items, or against drawn ones.

        Rivals are drawn from torch's generator, the same for the whole batch. One that is the target, or stands in its row of `taken`
        (M, T), does not count: what somebody took is no wrong answer.
        """
        queries = self.queries(states)
        if self.settings.loss == "softmax":
            return full_softmax(queries, self.table()[1:], targets - 1, smoothing=self.settings.smoothing)
        steps = self.get_buffer("steps")
        luck = torch.rand(self.settings.negatives, dtype=torch.float64, device=steps.device)
        drawn = torch.searchsorted(steps, luck, right=True).clamp(1, len(steps) - 1)
        counts = ~held(targets[:, None] if taken is None else torch.cat([targets[:, None], taken], dim=1), drawn.expand(len(targets), -1))
        both = torch.cat([targets, drawn])  # of the table nothing else is looked at
        with torch.autocast(queries.device.type, enabled=False):
            vectors = torch.cat([self.items.weight[both], self.bias[both, None]], dim=1).float()
            own, far = vectors.split([len(targets), len(drawn)])
            true, logits = (queries.float() * own).sum(dim=1), queries.float() @ far.T
            if self.settings.loss == "sampled_softmax":
                expected = ((steps[both] - steps[both - 1]) * len(drawn)).clamp(min=1e-12).log().float()
                true, logits = true - expected[: len(targets)], logits - expected[len(targets) :]
            return self._compare(true, logits, counts).sum()

    def logits(self, states: Tensor) -> Tensor:
        """(M, V) float32, -inf in column `PAD`."""
        queries, table = self.queries(states), self.table()
        with torch.autocast(queries.device.type, enabled=False):
            found = queries.float() @ table.float().T
        found[:, PAD] = -torch.inf
        return found

    def queries(self, states: Tensor) -> Tensor:
        """(M, d + 1), whose products with the `table` are the logits: the bias is one more number of both."""
        queries = self.projection(states) / self.settings.temperature
        ones = torch.full((len(queries), 1), 1 / self.settings.temperature, dtype=queries.dtype, device=queries.device)
        return torch.cat([queries, ones], dim=1)

    def table(self) -> Tensor:
        """(N + 1, d + 1) items and their biases."""
        return torch.cat([self.items.weight, self.bias[:, None]], dim=1)


class SequenceHead(nn.Module):
    """Says of each sequence whether, which class, or how much: what its target column is decides."""

    def __init__(self, target: Column, width: int, settings: SequenceHeadSettings) -> None:
        super().__init__()
        self.target, self.settings = target, settings
        self.attention = nn.Linear(width, 1) if settings.summary == "attention" else None
        inner = settings.hidden or width
        between = [nn.Linear(width, inner), nn.GELU()] if settings.hidden else []
        self.tower = nn.Sequential(*between, nn.Linear(inner, target.cardinality if target.tag is Tag.MULTICLASS else 1))

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """(B, C) logits of classes, or (B,) a logit or a number, from states (B, L, d) whose real places are `inside` (B, L)."""
        said: Tensor = self.tower(self.summary(states, inside))
        return said if self.target.tag is Tag.MULTICLASS else said.squeeze(1)

    def summary(self, states: Tensor, inside: Tensor) -> Tensor:
        """(B, d) what stands for each sequence."""
        lengths = inside.sum(dim=1)
        if self.settings.summary == "last":
            return states[torch.arange(len(states), device=states.device), (lengths - 1).clamp(min=0)]
        if self.settings.summary == "first":
            return states[:, 0]
        if self.attention is not None:
            weights = self.attention(states).squeeze(2).masked_fill(~inside, -1e4).softmax(dim=1)
        else:
            weights = inside / lengths.clamp(min=1)[:, None]
        summed: Tensor = (weights[:, :, None] * states).sum(dim=1)
        return summed

    def loss(self, said: Tensor, wanted: Tensor) -> Tensor:
        """The sum over sequences; a label outside the range is a `DataError`."""
        name, tag = self.target.name, self.target.tag
        if tag is Tag.MULTICLASS:
            outside = (wanted < 0) | (wanted >= self.target.cardinality)
            if bool(outside.any()):
                most = self.target.cardinality - 1
                raise DataError(f"column '{name}' holds the class {int(wanted[outside][0])}, but the schema says there are 0 to {most}")
            return cross_entropy(said.float(), wanted, reduction="sum")
        wanted = wanted.float()
        if not bool(wanted.isfinite().all()):
            raise DataError(f"column '{name}' holds {float(wanted[~wanted.isfinite()][0])}, which is not finite: leave these sequences out")
        if tag is Tag.BINARY:
            outside = (wanted != 0) & (wanted != 1)
            if bool(outside.any()):
                raise DataError(f"column '{name}' is binary, but holds {float(wanted[outside][0]):g}: write 0 or 1")
            return binary_cross_entropy_with_logits(said.float(), wanted, reduction="sum")
        return mse_loss(said.float(), wanted, reduction="sum")

    def figures(self, said: Tensor, wanted: Tensor) -> dict[str, float]:
        """How good what was said of (B,) sequences is.

        Of a binary target `auc` (NaN where all sequences are alike), `accuracy` and `log_loss`; of classes the latter two; of a number
        `rmse` and `mae`.
        """
        tag, count = self.target.tag, max(len(wanted), 1)
        if tag is Tag.REGRESSION:
            error = (said - wanted).double()
            return {"rmse": float(error.square().mean().sqrt()), "mae": float(error.abs().mean())}
        found = {"log_loss": float(self.loss(said, wanted)) / count}
        if tag is Tag.MULTICLASS:
            return found | {"accuracy": float((said.argmax(dim=1) == wanted).double().mean())}
        positive = wanted.bool()
        accuracy = float(((said > 0) == positive).double().mean())
        return found | {"accuracy": accuracy, "auc": area_under_curve(said.detach().double().cpu().numpy(), positive.cpu().numpy())}


class Fusion(nn.Module):
    """Joins a context (B, C) or (B, L, C) to states (B, L, d)."""

    def __init__(self, width: int, settings: FusionSettings) -> None:
        super().__init__()
        self.how = settings.how
        self.map = nn.Linear(settings.width + (width if settings.how == "concat" else 0), width)

    def forward(self, states: Tensor, context: Tensor) -> Tensor:
        """(B, L, d)."""
        if context.ndim == 2:
            context = context[:, None].expand(-1, states.shape[1], -1)
        if context.ndim != 3 or context.shape[:2] != states.shape[:2]:
            raise ConfigError(f"the context has shape {tuple(context.shape)}, the states {tuple(states.shape)}: give (B, C) or (B, L, C)")
        if self.how == "concat":
            joined: Tensor = self.map(torch.cat([states, context], dim=2))
            return joined
        mapped: Tensor = self.map(context)
        return states + mapped if self.how == "sum" else states * (1 + mapped)

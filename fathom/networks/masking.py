"""What is hidden and what is asked for: CLM, MLM, PLM and RTD, on rows that are padded on the right.

| objective | trained by | whoever is served |
|---|---|---|
| CLM | the next item after every event, the block looking back alone | read at the last event |
| MLM | items at masked places, the block looking both ways | a mask behind the last event |
| PLM | items of drawn spans in a drawn order, by a second stream that does not see them | a query behind the last event |
| RTD | MLM by a generator, and which items it has put there | as MLM |

A question about a known item, as evaluation asks it, is what is served on the row without that item: one code, so that they cannot differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathom.records import PAD
from fathom.settings import Settings, refuse_unheard

Objective = Literal["clm", "mlm", "plm", "rtd"]

DIRECTION: Mapping[Objective, Literal["back", "both", "two-stream"]] = {"clm": "back", "mlm": "both", "rtd": "both", "plm": "two-stream"}
"""Where a block must look."""


LISTENERS: Mapping[str, tuple[Objective, ...]] = {
    "share": ("mlm", "plm", "rtd"),
    "ends": ("mlm", "rtd"),
    "span": ("plm",),
    "permute_all": ("plm",),
    "generator_weight": ("rtd",),
    "discriminator_weight": ("rtd",),
    "tied": ("rtd",),
    "generator_width": ("rtd",),
    "replacements": ("rtd",),
}
"""Which objectives read a setting; one that is not named here is read by all."""


class MaskingSettings(Settings):
    """What is hidden in training."""

    objective: Objective = "clm"
    """Which of the four."""
    share: float = Field(default=0.15, gt=0, lt=1)
    """Of a row's events that MLM and RTD mask, or PLM asks for."""
    ends: float = Field(default=0.1, ge=0, le=1)
    """Of the rows so many have their last event alone masked by MLM and RTD, as whoever is served is asked."""
    span: int = Field(default=5, ge=1)
    """Longest run of events that PLM asks for together."""
    permute_all: bool = False
    """PLM asks for all events in a drawn order, but the first, before which nothing is known."""
    last_only: bool = False
    """Training asks for the last event of each row alone."""
    generator_weight: float = Field(default=1.0, ge=0)
    """Of the masked items' loss in RTD."""
    discriminator_weight: float = Field(default=1.0, ge=0)
    """Of the loss of telling replaced events from others in RTD."""
    tied: bool = True
    """Whether RTD's generator and discriminator are one block; otherwise the generator is a block of its own."""
    generator_width: int = Field(default=0, ge=0)
    """Numbers in a state of a generator of its own; 0: as many as in the discriminator's."""
    replacements: Literal["batch", "softmax"] = "batch"
    """Where RTD's replacements come from: the masked items of the batch, or the generator's distribution over all items."""

    @model_validator(mode="after")
    def _own(self) -> Self:
        refuse_unheard(self, "objective", LISTENERS)
        refuse_two_questions(all_events=self.permute_all, last_only=self.last_only)
        if self.tied and self.generator_width:
            raise ValueError(f"generator_width is {self.generator_width}, but a tied generator is the discriminator: write tied: false")
        return self


def refuse_two_questions(*, all_events: bool, last_only: bool) -> None:
    """PLM cannot ask for all events of a row and for the last one alone: a `ValueError`."""
    if all_events and last_only:
        raise ValueError("permute_all asks for all events of a row, last_only for its last one: leave one of them out")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a block reads, and what is asked of it."""

    inputs: Tensor
    """(B, L, d)."""
    inside: Tensor
    """(B, L) which places are read: padding is not."""
    labels: Tensor
    """(B, L) the item wanted at each place; `PAD` where nothing is."""
    perm_mask: Tensor | None = None
    """PLM: (B, L, L) 1 where a place may not look at another."""
    target_mapping: Tensor | None = None
    """PLM: (B, T, L) one row of zeros and a one for each place that is asked for."""
    skipped: int = 0
    """Rows that are too short to have something hidden and something seen."""


class Masking(nn.Module):
    """Hides and asks; the mask vector is its only weight."""

    def __init__(self, width: int, settings: MaskingSettings) -> None:
        super().__init__()
        self.settings = settings
        self.mask = nn.Parameter(torch.randn(width) * 0.02)

    def training_of(self, inputs: Tensor, ids: Tensor) -> Asked:
        """What is asked in training of rows (B, L, d) with items (B, L); drawn from torch's generator."""
        inside = ids != PAD
        lengths = inside.sum(dim=1)
        match self.settings.objective:
            case "clm":
                labels = torch.where(inside[:, 1:], ids[:, 1:], PAD)
                labels = torch.nn.functional.pad(labels, (0, 1), value=PAD)
                if self.settings.last_only:
                    places = torch.arange(ids.shape[1], device=ids.device)
                    labels = torch.where(places == lengths[:, None] - 2, labels, PAD)
                return Asked(inputs, inside, labels)
            case "plm":
                chosen = spans(lengths, ids.shape[1], self.settings)
                return self._permuted(inputs, ids, inside, chosen)
            case _:
                chosen = masked_places(lengths, ids.shape[1], self.settings)
                shown = torch.where(chosen[:, :, None], self.mask.to(inputs.dtype), inputs)
                return Asked(shown, inside & (lengths > 1)[:, None], torch.where(chosen, ids, PAD), skipped=int((lengths == 1).sum()))

    def question_of(self, inputs: Tensor, lengths: Tensor) -> tuple[Asked, Tensor]:
        """What is read to say what follows the first `lengths` (B,) events of rows (B, L, d), and at which place (B,) it is said.

        What stands behind them is not read. PLM says it at the only place that it is asked for: 0.
        """
        size = inputs.shape[1]
        places = torch.arange(size + 1, device=inputs.device)
        padded = torch.nn.functional.pad(inputs, (0, 0, 0, 1))
        nothing = torch.zeros(len(inputs), size + 1, dtype=torch.long, device=inputs.device)
        # Without a history the first place is looked at, where nothing stands: a softmax over no place would be one over all of them.
        seen = lengths.clamp(min=1)
        if self.settings.objective == "clm":
            shown = torch.where((places < lengths[:, None])[:, :, None], padded, 0.0)
            return Asked(shown, places < seen[:, None], nothing), seen - 1
        at = places == lengths[:, None]
        inside = places <= lengths[:, None]
        shown = torch.where(at[:, :, None], self.mask.to(inputs.dtype), torch.where(inside[:, :, None], padded, 0.0))
        if self.settings.objective != "plm":
            return Asked(shown, inside, nothing), lengths
        perm_mask = (places[None, None, :] >= seen[:, None, None]).expand(-1, size + 1, -1).float()
        return Asked(shown, inside, nothing, perm_mask, at[:, None, :].float()), torch.zeros_like(lengths)

    def _permuted(self, inputs: Tensor, ids: Tensor, inside: Tensor, chosen: Tensor) -> Asked:
        """A drawn order among the chosen places; whoever is not chosen comes before all of them, and sees none."""
        order = torch.where(chosen, torch.rand(chosen.shape, device=ids.device), -1.0)
        perm_mask = (chosen[:, None, :] & (order[:, :, None] <= order[:, None, :])).float()
        most = int(chosen.sum(dim=1).max()) if len(chosen) else 0
        place = torch.argsort((~chosen).int(), dim=1, stable=True)[:, :most]
        wanted = chosen.gather(1, place)
        mapping = torch.nn.functional.one_hot(place, ids.shape[1]).float() * wanted[:, :, None]
        labels = torch.where(wanted, ids.gather(1, place), PAD)
        lengths = inside.sum(dim=1)
        return Asked(inputs, inside & (lengths > 1)[:, None], labels, perm_mask, mapping, skipped=int((lengths == 1).sum()))


def masked_places(lengths: Tensor, size: int, settings: MaskingSettings) -> Tensor:
    """(B, L) bool: each event with the same chance, but at least one masked and one visible in a row; none in rows of one event."""
    places = torch.arange(size, device=lengths.device)
    inside = places < lengths[:, None]
    if settings.last_only:
        return (places == lengths[:, None] - 1) & (lengths > 1)[:, None]
    chosen = inside & (torch.rand(inside.shape, device=lengths.device) < settings.share)
    any_place = (torch.rand(lengths.shape, device=lengths.device) * lengths).long().clamp(max=size - 1)
    here = places == any_place[:, None]
    chosen = torch.where((~chosen.any(dim=1))[:, None], here & inside, chosen)
    full = chosen.sum(dim=1) == lengths
    chosen = torch.where(full[:, None], chosen & ~here, chosen)
    at_end = torch.rand(lengths.shape, device=lengths.device) < settings.ends
    return torch.where(at_end[:, None], places == lengths[:, None] - 1, chosen) & (lengths > 1)[:, None]


def spans(lengths: Tensor, size: int, settings: MaskingSettings) -> Tensor:
    """(B, L) bool: from the row's start on, a span of 1..S events somewhere in a context of length / share events, again and again.

    All rows at once. At least one place is asked for and one is not, which `permute_all` draws; none in rows of one event.
    """
    rows, device = len(lengths), lengths.device
    places = torch.arange(size, device=device)
    inside = places < lengths[:, None]
    some = (lengths > 1)[:, None]
    if settings.permute_all:
        luck = torch.rand(inside.shape, device=device).masked_fill(~inside, 2.0)
        return inside & some & (luck > luck.amin(dim=1, keepdim=True))
    if settings.last_only:
        return (places == lengths[:, None] - 1) & some
    draws = size  # a context is at least one event long
    length = torch.randint(1, settings.span + 1, (rows, draws), device=device)
    context = (length / settings.share).long().clamp(min=1)
    starts = context.cumsum(dim=1) - context
    first = starts + (torch.rand(rows, draws, device=device) * (context - length + 1).clamp(min=1)).long()
    ends = torch.zeros(rows, size + 1, dtype=torch.long, device=device)
    ends.scatter_add_(1, first.clamp(max=size), torch.ones_like(first))
    ends.scatter_add_(1, (first + length).clamp(max=size), -torch.ones_like(first))
    chosen = (ends.cumsum(dim=1)[:, :size] > 0) & inside
    any_place = (torch.rand(rows, device=device) * lengths).long().clamp(max=size - 1)
    here = places == any_place[:, None]
    chosen = torch.where((~chosen.any(dim=1))[:, None], here & inside, chosen)
    full = chosen.sum(dim=1) == lengths
    return torch.where(full[:, None], chosen & ~here, chosen) & some

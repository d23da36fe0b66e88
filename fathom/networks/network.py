"""The meta-architecture: features -> masking -> block -> heads, one settings class each, one batch in, losses or scores out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fathom.errors import ConfigError, DataError, suggestion
from fathom.networks.block import Block, BlockSettings
from fathom.networks.blocks import block_of
from fathom.networks.features import Batch, Features, FeatureSettings
from fathom.networks.heads import Fusion, FusionSettings, NextItem, NextItemSettings, SequenceHead, SequenceHeadSettings
from fathom.networks.masking import Asked, Masking, MaskingSettings
from fathom.networks.schema import IDS, Schema, Tag
from fathom.networks.stock_blocks import XLNet
from fathom.records import PAD
from fathom.settings import Settings

CONTEXT = "context"
"""What a batch calls the context that joins behind the block: (B, C) or (B, L, C)."""


class NetworkSettings(Settings):
    """One part of the architecture after the other."""

    features: FeatureSettings = FeatureSettings()
    """How columns are read and joined."""
    masking: MaskingSettings = MaskingSettings()
    """What is hidden and asked for."""
    block: BlockSettings = BlockSettings()
    """What reads the row."""
    fusion: FusionSettings | None = None
    """How a context joins behind the block; left out: there is none."""
    next_item: NextItemSettings | None = NextItemSettings()
    """How items are scored; null: the next item is not asked for."""
    heads: Mapping[str, SequenceHeadSettings] = {}
    """Target column of the schema -> how it is asked for. A sequence counts as much as an event whose item is asked for."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What was lost in a batch, as sums."""

    total: Tensor
    """All of it, weighted."""
    asked: Tensor
    """How many questions: items, and sequences of each head."""
    parts: Mapping[str, Tensor]
    """'next item', 'replaced', and each target column: sums without weights."""
    skipped: int
    """Rows that are too short for the objective."""


class Network(nn.Module):
    """Built from a schema and settings; an illegal pair of block and objective is a `ConfigError`."""

    def __init__(
        self, schema: Schema, settings: NetworkSettings, *, given: Mapping[str, Tensor] | None = None, counts: Tensor | None = None
    ) -> None:
        """`given`: column of ids -> vectors its table starts from; `counts` (V,): how often each item was taken, for rivals drawn by it."""
        super().__init__()
        self.schema, self.settings = schema, settings
        width = settings.block.width
        if settings.features.width != width:
            raise ConfigError(f"features.width is {settings.features.width} and block.width {width}: write the same")
        if settings.next_item is None and not settings.heads:
            raise ConfigError("nothing is asked for: write next_item, or heads")
        self.features = Features(schema, settings.features, given=given)
        self.masking = Masking(width, settings.masking)
        self.block: Block = block_of(settings.block, settings.masking.objective)
        self.generator = None if settings.masking.tied or settings.masking.objective != "rtd" else Generator(settings)
        self.fusion = Fusion(width, settings.fusion) if settings.fusion is not None else None
        self.next_item: NextItem | None = None
        if settings.next_item is not None:
            self.next_item = NextItem(self.features.items, width, settings.next_item, counts=counts)
        targets = {column.name: column for column in schema.targets}
        for name in settings.heads:
            if name not in targets:
                raise ConfigError(f"heads.{name}: the schema has no such target{suggestion(name, list(targets))}")
        self.heads = nn.ModuleList(SequenceHead(targets[name], width, head) for name, head in settings.heads.items())
        masking = settings.masking
        beside = [column.name for column in schema.read if column.level == "event" and column is not schema.item]
        if masking.objective == "rtd" and masking.replacements == "softmax" and beside:
            raise ConfigError(
                f"replacements drawn from the generator's softmax have no '{beside[0]}' of their own, which would betray them: "
                "write masking.replacements: batch"
            )
        self.discriminator = nn.Linear(width, 1) if settings.masking.objective == "rtd" else None

    def losses(self, batch: Batch) -> Losses:
        """What the batch teaches. Noise is drawn from torch's generator."""
        check(self.schema, batch, longest=self.settings.block.length)
        ids = batch[self.schema.item.name]
        asked = self.masking.training_of(self.features(batch), ids)
        states = self._behind(asked, batch)
        parts: dict[str, Tensor] = {}
        total = torch.zeros((), device=ids.device)
        count = torch.zeros((), dtype=torch.long, device=ids.device)
        settings = self.settings.masking
        if self.next_item is not None:
            wanted = asked.labels != PAD
            rows = ids[wanted.nonzero()[:, 0]]
            parts["next item"] = self.next_item.loss(states[wanted], asked.labels[wanted], rows)
            weight = settings.generator_weight if settings.objective == "rtd" else 1.0
            total, count = total + weight * parts["next item"], count + wanted.sum()
            if self.discriminator is not None:
                parts["replaced"] = self._told_apart(batch, asked, states[wanted])
                # A sum over all real events, as a sum over those that are asked for: the means of both are what is weighed.
                shared = wanted.sum() / asked.inside.sum().clamp(min=1)
                total = total + settings.discriminator_weight * shared * parts["replaced"]
        if self.heads:
            whole = self._whole(batch)
            for head in self.heads:
                assert isinstance(head, SequenceHead)
                name = head.target.name
                parts[name] = head.loss(head(whole, ids != PAD), batch[name])
                total, count = total + head.settings.weight * parts[name], count + len(ids)
        return Losses(total, count, parts, asked.skipped)

    def states(self, batch: Batch, lengths: Tensor) -> Tensor:
        """(B, d) what is expected behind the first `lengths` (B,) events of each row; what stands behind them is not looked at."""
        check(self.schema, batch, longest=self.settings.block.length)
        size = batch[self.schema.item.name].shape[1]
        if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= size:
            wrong = int(lengths.max()) if int(lengths.max()) > size else int(lengths.min())
            raise DataError(f"lengths holds {wrong}, but rows have {size} places: write 0 to {size}")
        asked, places = self.masking.question_of(self.features(batch), lengths)
        states = self._behind(asked, _grown(batch, lengths))
        return states[torch.arange(len(states), device=states.device), places]

    def scores(self, batch: Batch, lengths: Tensor) -> Tensor:
        """(B, V) float32 logits of all items as the next one, -inf in column `PAD`."""
        if self.next_item is None:
            raise ConfigError("this network does not rank items: write next_item")
        return self.next_item.logits(self.states(batch, lengths))

    def said(self, batch: Batch) -> dict[str, Tensor]:
        """Target column -> what each head says of each row: (B,) logits or numbers, (B, C) logits of classes."""
        check(self.schema, batch, longest=self.settings.block.length)
        whole, inside = self._whole(batch), batch[self.schema.item.name] != PAD
        return {head.target.name: head(whole, inside) for head in self.heads if isinstance(head, SequenceHead)}

    @torch.no_grad()
    def judged(self, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        """Target column -> what its head's answers to all these sequences together are worth (`SequenceHead.figures`)."""
        heads = {head.target.name: head for head in self.heads if isinstance(head, SequenceHead)}
        told = [(self.said(batch), {name: batch[name] for name in heads}) for batch in batches]
        return {
            name: head.figures(torch.cat([said[name] for said, _ in told]), torch.cat([wanted[name] for _, wanted in told]))
            for name, head in heads.items()
        }

    def _whole(self, batch: Batch) -> Tensor:
        """(B, L, d) states of whole rows, nothing hidden."""
        inside = batch[self.schema.item.name] != PAD
        states = self.block(self.features(batch), inside, back="both" not in self.block.looks)
        return self._fused(states, batch)

    def _behind(self, asked: Asked, batch: Batch) -> Tensor:
        """(B, L, d) states where the objective asks, (B, T, d) by the second stream."""
        if asked.perm_mask is not None:
            assert isinstance(self.block, XLNet)
            assert asked.target_mapping is not None
            if self.fusion is not None and batch.get(CONTEXT, asked.inputs[:, 0]).ndim == 3:
                raise ConfigError("plm asks at drawn places, which have no context of their own: give a context (B, C)")
            states = self.block.two_streams(asked.inputs, asked.inside, asked.perm_mask, asked.target_mapping)
            return self._fused(states, batch)
        block = self.block if self.generator is None else self.generator
        back = self.settings.masking.objective == "clm"
        states = block(asked.inputs, asked.inside, back=back)
        return self._fused(states, batch if back else _hidden(batch, asked.labels != PAD))

    def _fused(self, states: Tensor, batch: Batch) -> Tensor:
        if self.fusion is None:
            return states
        if CONTEXT not in batch:
            raise ConfigError(f"fusion joins a context, but the batch has no '{CONTEXT}'")
        fused: Tensor = self.fusion(states, batch[CONTEXT])
        return fused

    def _told_apart(self, batch: Batch, asked: Asked, masked: Tensor) -> Tensor:
        """The sum over real events of how badly replaced ones are told from the others; nothing of it reaches the generator's choice."""
        assert self.discriminator is not None
        assert self.next_item is not None
        item, wanted = self.schema.item.name, asked.labels != PAD
        corrupted = dict(batch)
        read = [column.name for column in self.schema.read if column.level == "event"]
        if self.fusion is not None and batch[CONTEXT].ndim == 3:
            read.append(CONTEXT)
        with torch.no_grad():
            if self.settings.masking.replacements == "softmax":
                if CONTEXT in read:
                    raise ConfigError(
                        "replacements drawn from the generator's softmax have no context of their own, which would betray them: "
                        "give a context (B, C), or write masking.replacements: batch"
                    )
                logits = self.next_item.logits(masked)
                drawn = (logits - torch.log(-torch.log(torch.rand_like(logits).clamp(1e-20, 1 - 1e-7)))).argmax(dim=1)
                corrupted[item] = batch[item].masked_scatter(wanted, drawn)
            else:
                places = wanted.flatten().nonzero()[:, 0]
                source = torch.arange(wanted.numel(), device=wanted.device)
                source[places] = places[torch.randint(max(len(places), 1), places.shape, device=places.device)]
                for name in read:  # all that the replacing event has, or it would betray it
                    corrupted[name] = batch[name].flatten(0, 1)[source].view(batch[name].shape)
        # Noise that no label knows of is left out here.
        states = self._fused(self.block(self.features(corrupted, disturbed=False), asked.inside, back=False), corrupted)
        said = self.discriminator(states).squeeze(2).float()
        replaced = (corrupted[item] != batch[item])[asked.inside].float()
        return binary_cross_entropy_with_logits(said[asked.inside], replaced, reduction="sum")


class Generator(nn.Module):
    """Says what is masked, where the discriminator does not do it itself: a block of its own, and as wide as one likes."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width, own = settings.block.width, settings.masking.generator_width or settings.block.width
        self.block = block_of(settings.block.model_copy(update={"width": own}), settings.masking.objective)
        self.narrower = nn.Linear(width, own) if own != width else nn.Identity()
        self.wider = nn.Linear(own, width) if own != width else nn.Identity()

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """(B, L, d) states from (B, L, d)."""
        states: Tensor = self.wider(self.block(self.narrower(inputs), inside, back=back))
        return states


def _hidden(batch: Batch, wanted: Tensor) -> Batch:
    """The batch whose context of events, if it has one, is at the places (B, L) that are asked for what it was one event before.

    So it is in service, where the context of the event to come is not known.
    """
    context = batch.get(CONTEXT)
    if context is None or context.ndim != 3 or wanted.shape != context.shape[:2]:
        return batch
    before = torch.nn.functional.pad(context[:, :-1], (0, 0, 1, 0))
    return dict(batch) | {CONTEXT: torch.where(wanted[:, :, None], before, context)}


def _grown(batch: Batch, lengths: Tensor) -> Batch:
    """The batch whose context of events, if it has one, goes on for the place behind them: as it was at the last that is known."""
    context = batch.get(CONTEXT)
    if context is None or context.ndim != 3:
        return batch
    size = context.shape[1]
    places = torch.arange(size + 1, device=lengths.device)[None]
    last = torch.minimum(places, (lengths - 1).clamp(min=0)[:, None]).clamp(max=size - 1)
    known = context.gather(1, last[:, :, None].expand(-1, -1, context.shape[2]))
    return dict(batch) | {CONTEXT: torch.where((lengths > 0)[:, None, None], known, 0.0)}


def check(schema: Schema, batch: Batch, *, longest: int) -> None:
    """Refuse a batch that the schema does not fit: a column that is missing, an id beyond its cardinality, a number that is none, padding
    before an event; or with rows of more than `longest` places."""
    ids = batch.get(schema.item.name)
    for column in schema.read:
        if column.name not in batch:
            raise ConfigError(f"the batch has no column '{column.name}'{suggestion(column.name, list(batch))}")
        values = batch[column.name]
        if column.tag in IDS and values.numel() and not 0 <= int(values.min()) <= int(values.max()) < column.cardinality:
            wrong = int(values.max()) if int(values.max()) >= column.cardinality else int(values.min())
            raise DataError(
                f"column '{column.name}' holds the id {wrong}, but the schema says there are {column.cardinality}, padding included"
            )
        if column.tag in (Tag.CONTINUOUS, Tag.EMBEDDING) and ids is not None:
            read = values[ids != PAD] if column.level == "event" else values
            if not bool(torch.isfinite(read).all()):
                raise DataError(f"column '{column.name}' holds a number that is not finite: fill it in, or leave these events out")
    assert ids is not None
    if ids.shape[1] > longest:
        raise DataError(
            f"rows have {ids.shape[1]} places, but block.length is {longest}: leave out the oldest events, or write a longer one"
        )
    if bool(((ids[:, :-1] == PAD) & (ids[:, 1:] != PAD)).any()):
        row = int(((ids[:, :-1] == PAD) & (ids[:, 1:] != PAD)).any(dim=1).nonzero()[0, 0])
        raise DataError(f"row {row} of '{schema.item.name}' has {PAD} before an event: it is padding, which stands on the right")
    if CONTEXT in batch and not bool(torch.isfinite(batch[CONTEXT]).all()):
        raise DataError(f"'{CONTEXT}' holds a number that is not finite: fill it in")

"""Free text by beams: several groups of them, each kept from the words of the ones before it (diverse beam search, arXiv:1610.02424).

Here and not from transformers, which since version 5 fetches its own from the model hub, while Fathom works without a network.
"""

from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from fathom.p5.decoding import SideBySide
from fathom.p5.network import TextToText
from fathom.settings import Settings


class WritingSettings(Settings):
    """How texts are written."""

    beams: int = Field(default=1, ge=1)
    """Beginnings that are kept; 1 writes the likeliest token each time."""
    groups: int = Field(default=1, ge=1)
    """Into so many groups the beams are divided."""
    diversity: float = Field(default=0.0, ge=0)
    """What a token loses for each beam of the groups before that writes it at the same place."""
    shortest: int = Field(default=4, ge=0)
    """Tokens that a text has at least."""
    longest: int = Field(default=40, ge=1)
    """Tokens that a text has at most."""
    repetition: float = Field(default=1.0, ge=1)
    """What the log-probability of a token that is written already is multiplied by; below 1 it would reward repetition."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.beams % self.groups:
            raise ValueError(f"{self.beams} beams cannot be divided into {self.groups} groups: write a multiple of it")
        if self.diversity and self.groups == 1:
            raise ValueError(f"diversity {self.diversity:g} is between groups, and there is one: write groups 2 or more")
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} must not be more than longest {self.longest}")
        return self


@torch.inference_mode()
def write(
    network: TextToText, read: Tensor, mask: Tensor, *, end: int, barred: Sequence[int], settings: WritingSettings
) -> list[list[int]]:
    """The best text of each row in tokens, without its end; of several by the mean log-probability of their tokens.

    `read` (B, S, d) and `mask` are what the encoder made of the questions; of the tokens `barred` none is written. Batch mates never
    change a row.
    """
    rows, beams, groups = len(read), settings.beams, settings.groups
    each = beams // groups
    first = torch.full((rows, 1), network.start, device=read.device)
    decoder = SideBySide(network, read, mask)
    hidden = decoder.go_on(first[:, None].expand(-1, beams, -1))
    # Of each group one beam begins: the others would write the same.
    scores = torch.full((rows, groups, each), -torch.inf, dtype=torch.float64, device=read.device)
    scores[:, :, 0] = 0.0
    texts = torch.empty(rows, groups, each, 0, dtype=torch.int64, device=read.device)
    best: list[tuple[float, list[int]]] = [(-float("inf"), []) for _ in range(rows)]
    for length in range(settings.longest + 1):
        logits = network.say(hidden).double()
        logits[..., [network.start, *barred]] = -torch.inf
        logprobs = logits.log_softmax(dim=-1).view(rows, groups, each, -1)
        if settings.repetition > 1.0 and length:
            written = torch.zeros_like(logprobs, dtype=torch.bool).scatter_(-1, texts, True)
            logprobs = torch.where(written, logprobs * settings.repetition, logprobs)
        if length < settings.shortest:
            logprobs[..., end] = -torch.inf
        if length == settings.longest:  # whatever is unfinished ends here
            _note(best, texts, scores, length, torch.ones_like(scores, dtype=torch.bool))
            break
        chosen_scores, chosen_parents, chosen_tokens = [], [], []
        used = torch.zeros(rows, logprobs.shape[-1], dtype=torch.float64, device=read.device)
        for group in range(groups):
            total = scores[:, group, :, None] + logprobs[:, group]
            ended = total[..., end]
            _note(best, texts[:, group : group + 1], ended[:, None], length, torch.isfinite(ended)[:, None])
            total[..., end] = -torch.inf
            penalised = total - settings.diversity * used[:, None]
            places = penalised.flatten(1).topk(each, dim=1).indices
            tokens = places % logprobs.shape[-1]
            used.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=torch.float64))
            chosen_scores.append(total.flatten(1).gather(1, places))
            chosen_parents.append(places // logprobs.shape[-1] + group * each)
            chosen_tokens.append(tokens)
        scores = torch.stack(chosen_scores, dim=1)
        parents, tokens = torch.stack(chosen_parents, dim=1), torch.stack(chosen_tokens, dim=1)
        flat = texts.view(rows, beams, length)
        kept = flat.gather(1, parents.view(rows, beams, 1).expand(-1, -1, length))
        texts = torch.cat([kept, tokens.view(rows, beams, 1)], dim=2).view(rows, groups, each, length + 1)
        if _nothing_better(best, scores, settings.longest):
            break
        hidden = decoder.go_on(tokens.view(rows, beams, 1), parents.view(rows, beams))
    return [text for _, text in best]


def _note(best: list[tuple[float, list[int]]], texts: Tensor, scores: Tensor, length: int, there: Tensor) -> None:
    """Keep in `best` the text of each row of the highest mean log-probability, its end counted; the first of equals."""
    means = torch.where(there, scores / (length + 1), -torch.inf).flatten(1)
    values, places = means.max(dim=1)
    flat = texts.flatten(1, 2)
    for row, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
        if value > best[row][0]:
            best[row] = value, flat[row, place].tolist()


def _nothing_better(best: Sequence[tuple[float, list[int]]], scores: Tensor, longest: int) -> bool:
    """Whether no beginning can still become a better text: its sum can only fall, and is divided by at most `longest` + 1 tokens."""
    bounds = scores.flatten(1).max(dim=1).values / (longest + 1)
    return all(value >= bound for (value, _), bound in zip(best, bounds.tolist(), strict=True))

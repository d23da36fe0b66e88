"""Some tokens were not chosen from the whole vocabulary: how likely they are depends on what else was allowed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fathom.language.trie import TitleTrie
from fathom.records import Tape


@dataclass(frozen=True, slots=True)
class Choices:
    """Of N tokens that are asked for, M were chosen among allowed ones."""

    places: Tensor
    """(M,) which of the N, ascending."""
    added: Tensor
    """(M, vocabulary) what was added to the logits: -inf where a token could not have stood."""

    @classmethod
    def of(cls, tapes: Sequence[Tape], trie: TitleTrie, vocabulary: int, device: torch.device) -> "Choices | None":
        """Those of the sampled tokens of `tapes`, which are asked for one tape after the other; None if all were free."""
        places, made, before = [], [], 0
        for tape in tapes:
            sampled = [place for place, own in enumerate(tape.sampled) if own]
            limited = [(before + order, tape.choices[place]) for order, place in enumerate(sampled) if place in tape.choices]
            places += [place for place, _ in limited]
            made += [choice for _, choice in limited]
            before += len(sampled)
        if not made:
            return None
        return cls(torch.tensor(places, device=device), torch.from_numpy(trie.added(made, vocabulary)).to(device))

    def part(self, start: int, stop: int) -> "Choices":
        """Those among the asked tokens from `start` to before `stop`, counted from `start`."""
        inside = (self.places >= start) & (self.places < stop)
        return Choices(self.places[inside] - start, self.added[inside])

    def among(self, logits: Tensor) -> Tensor:
        """(N, vocabulary) `logits` as they were when the tokens were chosen: -inf where a token could not have stood."""
        return logits.index_put((self.places,), logits[self.places] + self.added)

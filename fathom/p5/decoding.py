"""Several beginnings of an answer to each question, decoded side by side over one reading of the question.

transformers would keep what the encoder made of a question once for each beginning: with a hundred of them and a long question, most of the
time is copying. Here a question is kept once, and all of its beginnings attend to it together. The states are those of the network's own
decoder, which a test holds.
"""

from typing import Any

import torch
from torch import Tensor

from fathom.p5.network import TextToText


class SideBySide:
    """The decoder's memory of (B, W) beginnings: W of each of B questions."""

    def __init__(self, network: TextToText, read: Tensor, mask: Tensor) -> None:
        """`read` (B, S, d) and `mask` (B, S) are what the encoder made of the questions; no beginning has a token yet."""
        decoder = network.t5.get_decoder()
        self._tokens = network.t5.get_input_embeddings()
        self._blocks: list[Any] = list(decoder.block)
        self._norm = decoder.final_layer_norm
        self._unseen = torch.zeros(mask.shape, device=read.device, dtype=read.dtype).masked_fill_(~mask, -torch.inf)[:, None, None]
        self._read = [self._keys_and_values(block.layer[1].EncDecAttention, read) for block in self._blocks]
        """Of each layer (B, heads, S, width) keys and values of the questions."""
        self._written: list[tuple[Tensor, Tensor]] = []
        """Of each layer (B, W, heads, P, width) keys and values of the P tokens of every beginning."""

    def go_on(self, tokens: Tensor, parents: Tensor | None = None) -> Tensor:
        """(B, V, d) the states behind `tokens` (B, V, T), each of which follows the beginning `parents` (B, V) of its question; with
        `parents` left out they follow the beginnings as they stand, or begin."""
        if parents is not None:
            self._written = [(_taken(keys, parents), _taken(values, parents)) for keys, values in self._written]
        states: Tensor = self._tokens(tokens)
        before = self._written[0][0].shape[3] if self._written else 0
        length = tokens.shape[2]
        first = self._blocks[0].layer[0].SelfAttention
        bias = first.compute_bias(length, before + length, device=states.device, past_seen_tokens=before)[:, None]
        later = torch.arange(before + length, device=states.device) > before + torch.arange(length, device=states.device)[:, None]
        bias = bias.masked_fill(later, -torch.inf)
        written = []
        for place, (block, read) in enumerate(zip(self._blocks, self._read, strict=True)):
            own = block.layer[0]
            normed = own.layer_norm(states)
            keys, values = self._keys_and_values(own.SelfAttention, normed)
            if self._written:
                keys, values = (torch.cat([old, new], dim=3) for old, new in zip(self._written[place], (keys, values), strict=True))
            written.append((keys, values))
            queries = _heads(own.SelfAttention.q(normed), own.SelfAttention)
            weights = (queries @ keys.transpose(-1, -2) + bias).softmax(dim=-1)
            states = states + own.SelfAttention.o(_joined(weights @ values))
            across = block.layer[1]
            flat = across.layer_norm(states).flatten(1, 2)
            queries = _heads(across.EncDecAttention.q(flat), across.EncDecAttention)
            weights = (queries @ read[0].transpose(-1, -2) + self._unseen).softmax(dim=-1)
            states = states + across.EncDecAttention.o(_joined(weights @ read[1])).view(states.shape)
            states = block.layer[2](states)
        self._written = written
        last: Tensor = self._norm(states)[:, :, -1]
        return last

    def keep(self, questions: Tensor) -> None:
        """Forget all questions but these (C,)."""
        self._unseen = self._unseen[questions]
        self._read = [(keys[questions], values[questions]) for keys, values in self._read]
        self._written = [(keys[questions], values[questions]) for keys, values in self._written]

    @staticmethod
    def _keys_and_values(attention: Any, states: Tensor) -> tuple[Tensor, Tensor]:
        return _heads(attention.k(states), attention), _heads(attention.v(states), attention)


def _heads(states: Tensor, attention: Any) -> Tensor:
    """(..., T, heads x width) as (..., heads, T, width)."""
    found: Tensor = states.unflatten(-1, (-1, attention.key_value_proj_dim)).transpose(-2, -3)
    return found


def _joined(states: Tensor) -> Tensor:
    """(..., heads, T, width) as (..., T, heads x width)."""
    return states.transpose(-2, -3).flatten(-2)


def _taken(states: Tensor, parents: Tensor) -> Tensor:
    """(B, V, ...) of (B, W, ...): the beginnings `parents` (B, V) of each question."""
    return states[torch.arange(len(parents), device=states.device)[:, None], parents]

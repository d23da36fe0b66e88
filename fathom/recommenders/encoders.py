"""What reads a sequence of vectors: causal self-attention over whole windows, and attention both ways over one history."""

import math

import torch
from torch import Tensor, nn

from fathom.errors import ConfigError


class Dropout(nn.Module):
    """Zeroes a share of the entries in training; as `nn.Dropout`, many times faster on a CPU.

    There one random byte per entry is compared with a threshold, so the share is rounded to 1/256; on other devices the
    built-in dropout runs. Scaled so that the expectation is kept.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self._threshold = round(share * 256)

    def forward(self, inputs: Tensor) -> Tensor:
        """As `inputs`."""
        if not self.training or self._threshold == 0:
            return inputs
        if inputs.device.type != "cpu":
            return nn.functional.dropout(inputs, self.share)
        count = inputs.numel()
        words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[:count].view(inputs.shape) >= self._threshold
        return inputs * (kept.to(inputs.dtype) * (256 / (256 - self._threshold)))


class Attention(nn.Module):
    """Scaled dot-product attention with several heads, written out: at these widths a CPU runs two plain products faster
    than a fused kernel (measured: a third of the time in bfloat16, 64 windows of 200 positions, width 64)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"width {width} cannot be shared by {heads} heads: write a multiple of {heads}")
        self._heads = heads
        self.read = nn.Linear(width, 3 * width)
        self.write = nn.Linear(width, width)

    def forward(self, inputs: Tensor, blocked: Tensor, turns: Tensor | None = None) -> Tensor:
        """(B, T, d) from (B, T, d); `blocked` (T, T) or (B, T, T), added to the logits, is large negative where nobody may look.

        With `turns`, as `rotations` gives them, queries and keys are turned by their place, so that logits know distances.
        """
        batch, length, width = inputs.shape
        queries, keys, values = self.read(inputs).view(batch, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
        if turns is not None:
            queries, keys = _turned(queries, turns[:, :length]), _turned(keys, turns[:, :length])
        added = blocked.to(queries.dtype)
        if added.ndim == 3:
            added = added.repeat_interleave(self._heads, dim=0)
        logits = torch.baddbmm(added.expand(len(queries), length, length), queries, keys.mT, alpha=1 / math.sqrt(queries.shape[-1]))
        mixed = torch.bmm(torch.softmax(logits, dim=-1).to(values.dtype), values)
        joined: Tensor = self.write(mixed.view(batch, self._heads, length, -1).transpose(1, 2).reshape(batch, length, width))
        return joined


class Block(nn.Module):
    """One layer: attention, then a feed-forward net; the norm stands before each (pre) or after each (post) with its residual."""

    def __init__(self, width: int, heads: int, *, inner: int, dropout: float, norm_first: bool, epsilon: float = 1e-5) -> None:
        super().__init__()
        self._norm_first = norm_first
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.feed = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.feed_norm = nn.LayerNorm(width, eps=epsilon)
        self.dropout = Dropout(dropout)

    def forward(self, inputs: Tensor, blocked: Tensor, turns: Tensor | None = None) -> Tensor:
        """(B, T, d) from (B, T, d)."""
        if self._norm_first:
            attended = inputs + self.dropout(self.attention(self.attention_norm(inputs), blocked, turns))
            fed: Tensor = attended + self.dropout(self.feed(self.feed_norm(attended)))
            return fed
        attended = self.attention_norm(inputs + self.dropout(self.attention(inputs, blocked, turns)))
        result: Tensor = self.feed_norm(attended + self.dropout(self.feed(attended)))
        return result


class CausalEncoder(nn.Module):
    """Reads windows from left to right: position t knows positions 0..t. Padding stands on the right, so it needs no mask.

    Positions are learned vectors, and rotations beside them (RoPE, arXiv:2104.09864), which say how long ago an event was.
    """

    turns: Tensor

    def __init__(self, width: int, *, length: int, layers: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.positions = nn.Embedding(length, width)
        blocks = [Block(width, heads, inner=inner, dropout=dropout, norm_first=True) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.register_buffer("turns", rotations(length, width // heads), persistent=False)
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, d) float32 from (B, T, d), T at most `length`."""
        steps = inputs.shape[1]
        state = self.dropout(inputs + self.positions.weight[:steps])
        future = torch.full((steps, steps), -1e4, device=inputs.device).triu(1)
        for block in self.blocks:
            state = block(state, future, self.turns)
        result: Tensor = self.norm(state.float())
        return result


class BidirectionalEncoder(nn.Module):
    """Reads one history both ways and answers at its last event, as the released retriever of DeepRec does (post-norm layers)."""

    def __init__(self, width: int, *, length: int, layers: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.positions = nn.Embedding(length, width)
        blocks = [Block(width, heads, inner=inner, dropout=dropout, norm_first=False, epsilon=1e-12) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(dropout)
        initialise(self)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, d) float32, the state at the last of `lengths` (B,) events; `inputs` (B, length, d) are padded on the right."""
        state = self.dropout(self.norm(inputs + self.positions.weight))
        beyond = torch.arange(self.length, device=inputs.device)[None, :] >= lengths[:, None]
        blocked = torch.where(beyond, -1e4, 0.0)[:, None, :].expand(-1, self.length, -1)
        for block in self.blocks:
            state = block(state, blocked)
        last: Tensor = state[torch.arange(len(state), device=state.device), lengths - 1].float()
        return last


def rotations(length: int, width: int) -> Tensor:
    """(2, length, width // 2) cosines and sines by which the places of a sequence turn a head's `width` numbers, pair by pair."""
    if width % 2:
        raise ConfigError(f"a head has {width} numbers, which cannot be turned in pairs: write an even width for each")
    speeds = 10_000 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * speeds
    return torch.stack([angles.cos(), angles.sin()])


def _turned(vectors: Tensor, turns: Tensor) -> Tensor:
    """(B, T, e) with the two halves of each vector turned against each other."""
    cosines, sines = turns.to(vectors.dtype)
    one, other = vectors.chunk(2, dim=-1)
    return torch.cat([one * cosines - other * sines, other * cosines + one * sines], dim=-1)


def initialise(module: nn.Module) -> None:
    """Draw all matrices and embeddings from N(0, 0.02) and set all biases to zero, as BERT and the released SASRec variants do."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)

"""Transformer-XL's attention, which the transformers library has no more."""

import torch
from torch import Tensor, nn

from fathom.networks.block import Block, BlockSettings, activation_of


class TransformerXL(Block):
    """Relative attention with the two biases of Transformer-XL (arXiv:1901.02860); a row is one segment, nothing is kept from the last.

    logit_ij = (q_i + u) . k_j + (q_i + v) . W r_(i - j)
    """

    looks = frozenset({"back", "both"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_RelativeLayer(settings) for _ in range(settings.layers))
        self.dropout = nn.Dropout(settings.dropout)
        self.width = settings.width

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Padding and, with `back`, what is ahead are masked."""
        length = inputs.shape[1]
        allowed = inside[:, None, :] | torch.eye(length, dtype=torch.bool, device=inputs.device)
        if back:
            allowed = allowed & torch.ones(length, length, dtype=torch.bool, device=inputs.device).tril()
        distances = distance_waves(length, self.width).to(inputs.device, inputs.dtype)
        states: Tensor = self.dropout(inputs)
        for layer in self.layers:
            states = layer(states, allowed, distances)
        return states


class _RelativeLayer(nn.Module):
    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        width, self.heads = settings.width, settings.heads
        self.read, self.places = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.write = nn.Linear(width, width, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(self.heads, width // self.heads))
        self.place_bias = nn.Parameter(torch.zeros(self.heads, width // self.heads))
        self.norm, self.feed_norm = nn.LayerNorm(width, eps=settings.epsilon), nn.LayerNorm(width, eps=settings.epsilon)
        self.feed = nn.Sequential(
            nn.Linear(width, settings.inner), activation_of(settings), nn.Dropout(settings.dropout), nn.Linear(settings.inner, width)
        )
        self.dropout = nn.Dropout(settings.dropout)
        for part in (self.read, self.places, self.write):
            nn.init.normal_(part.weight, std=settings.spread)

    def forward(self, states: Tensor, allowed: Tensor, distances: Tensor) -> Tensor:
        batch, length, width = states.shape
        queries, keys, values = self.read(states).view(batch, length, 3, self.heads, -1).unbind(dim=2)
        content = torch.einsum("bihd,bjhd->bhij", queries + self.content_bias, keys)
        apart = self.places(distances).view(2 * length - 1, self.heads, -1)
        by_distance = torch.einsum("bihd,rhd->bhir", queries + self.place_bias, apart)
        index = torch.arange(length, device=states.device)
        place = (index[:, None] - index[None, :]) + length - 1
        logits = (content + by_distance.gather(3, place.expand(batch, self.heads, -1, -1))) / (width // self.heads) ** 0.5
        shares = self.dropout(torch.softmax(logits.masked_fill(~allowed[:, None], -torch.inf), dim=-1))
        mixed = torch.einsum("bhij,bjhd->bihd", shares, values).reshape(batch, length, width)
        states = self.norm(states + self.dropout(self.write(mixed)))
        fed: Tensor = self.feed_norm(states + self.dropout(self.feed(states)))
        return fed


def distance_waves(length: int, width: int) -> Tensor:
    """(2 length - 1, width) sines and cosines of the distances -(length - 1) .. length - 1."""
    apart = torch.arange(-(length - 1), length, dtype=torch.float32)[:, None]
    half = (width + 1) // 2
    angles = apart / 10_000 ** (torch.arange(half) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]

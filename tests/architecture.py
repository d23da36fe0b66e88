"""Small schemas, batches and networks."""

from typing import Any

import torch

from fathom.networks.network import Network, NetworkSettings
from fathom.networks.schema import Schema, schema_of
from fathom.training.run import noise_from

SCHEMA = schema_of(
    {
        "item": {"tag": "item-id", "cardinality": 30},
        "genre": {"tag": "categorical", "cardinality": 9, "several": True},
        "hour": "continuous",
        "price": "continuous",
        "text": {"tag": "embedding", "width": 5},
        "country": {"tag": "categorical", "cardinality": 4, "level": "sequence"},
        "bought": "binary",
        "kind": {"tag": "multiclass", "cardinality": 3},
        "spent": "regression",
    }
)


def batch(lengths: list[int], *, size: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of these lengths, padded on the right to `size`."""
    draw = torch.Generator().manual_seed(seed)
    size = size or max(lengths)
    rows = len(lengths)
    inside = torch.arange(size) < torch.tensor(lengths)[:, None]
    full = max(size, 40)  # drawn wider, so that padding changes no value

    def ids(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(1, high, (rows, full, *shape), generator=draw)[:, :size]

    genres = ids(9, 3) * (torch.rand(rows, full, 3, generator=draw)[:, :size] < 0.7)
    return {
        "item": torch.where(inside, ids(30), 0),
        "genre": torch.where(inside[:, :, None], genres, 0),
        "hour": torch.randn(rows, full, generator=draw)[:, :size],
        "price": torch.randn(rows, full, generator=draw)[:, :size],
        "text": torch.randn(rows, full, 5, generator=draw)[:, :size],
        "country": torch.randint(0, 4, (rows,), generator=draw),
        "bought": torch.randint(0, 2, (rows,), generator=draw),
        "kind": torch.randint(0, 3, (rows,), generator=draw),
        "spent": torch.randn(rows, generator=draw),
    }


def network(schema: Schema = SCHEMA, seed: int = 1, counts: torch.Tensor | None = None, **parts: Any) -> Network:
    """In evaluation mode; `parts` are settings of the network's parts."""
    block = {"kind": "bert", "width": 16, "layers": 2, "heads": 2, "inner": 16, "length": 60, "dropout": 0.0}
    block |= {"spread": 0.3} | parts.pop("block", {})
    if block["kind"] in ("longformer", "reformer"):
        block = {"window": 4} | block
    features = {"width": 16, "item_width": 12, "other_width": 12} | parts.pop("features", {})
    settings = NetworkSettings.model_validate({"block": block, "features": features} | parts)
    with noise_from(seed):
        return Network(schema, settings, counts=counts).eval()

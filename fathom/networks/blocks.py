"""The blocks by name. A new one is a file beside this one and a line in `BLOCKS`.

A block is legal with an objective only if it can look where that one must.
"""

from collections.abc import Mapping

from fathom.errors import ConfigError, suggestion
from fathom.networks.block import Block, BlockSettings
from fathom.networks.masking import DIRECTION, Objective
from fathom.networks.plain_blocks import MLP, Recurrent
from fathom.networks.stock_blocks import GPT2, Longformer, Masked, Reformer, XLNet
from fathom.networks.transformer_xl import TransformerXL

BLOCKS: Mapping[str, type[Block]] = {
    "xlnet": XLNet,
    "gpt2": GPT2,
    "bert": Masked,
    "electra": Masked,
    "albert": Masked,
    "roberta": Masked,
    "transformer-xl": TransformerXL,
    "longformer": Longformer,
    "reformer": Reformer,
    "gru": Recurrent,
    "lstm": Recurrent,
    "mlp": MLP,
}
"""Name -> block."""

HEADLESS = frozenset({"gru", "lstm", "mlp"})
"""Blocks without attention heads."""


def block_of(settings: BlockSettings, objective: Objective) -> Block:
    """The block, if it can look where the objective must; otherwise a `ConfigError` that names those which can."""
    refuse_pair(settings.kind, objective)
    if settings.kind not in HEADLESS and settings.width % settings.heads:
        raise ConfigError(f"width {settings.width} cannot be shared by {settings.heads} heads: write a multiple of {settings.heads}")
    return BLOCKS[settings.kind](settings)


def refuse_pair(kind: str, objective: Objective) -> None:
    """An unknown block, or one that cannot look where the objective must, is a `ConfigError` that names those which can."""
    if kind not in BLOCKS:
        raise ConfigError(f"block '{kind}'{suggestion(kind, list(BLOCKS))}; there are {', '.join(BLOCKS)}")
    if not legal(kind, objective):
        blocks = [other for other in BLOCKS if legal(other, objective)]
        objectives = [one for one in DIRECTION if legal(kind, one)]
        raise ConfigError(
            f"block '{kind}' with objective '{objective}' would see what it is asked for, or never what it needs: "
            f"'{objective}' goes with {', '.join(blocks)}; '{kind}' with {', '.join(objectives)}"
        )


def legal(kind: str, objective: Objective) -> bool:
    """Whether the block can look where the objective must."""
    return DIRECTION[objective] in BLOCKS[kind].looks

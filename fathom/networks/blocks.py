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
    if settings.kind not in BLOCKS:
        raise ConfigError(f"block '{settings.kind}'{suggestion(settings.kind, list(BLOCKS))}; there are {', '.join(BLOCKS)}")
    if not legal(settings.kind, objective):
        blocks = [kind for kind in BLOCKS if legal(kind, objective)]
        objectives = [one for one in DIRECTION if legal(settings.kind, one)]
        raise ConfigError(
            f"block '{settings.kind}' with objective '{objective}' would see what it is asked for, or never what it needs: "
            f"'{objective}' goes with {', '.join(blocks)}; '{settings.kind}' with {', '.join(objectives)}"
        )
    if settings.kind not in HEADLESS and settings.width % settings.heads:
        raise ConfigError(f"width {settings.width} cannot be shared by {settings.heads} heads: write a multiple of {settings.heads}")
    return BLOCKS[settings.kind](settings)


def legal(kind: str, objective: Objective) -> bool:
    """Whether the block can look where the objective must."""
    return DIRECTION[objective] in BLOCKS[kind].looks

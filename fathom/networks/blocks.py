"""The blocks that read a row of vectors: stock encoders of transformers, recurrent networks, an MLP, and Transformer-XL's attention.

A block is told which places are real and whether it may look ahead. It is legal with an objective only if it can look where that one must.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fathom.errors import ConfigError, suggestion
from fathom.networks.masking import DIRECTION, Objective
from fathom.settings import Settings

Looks = Literal["back", "both", "two-stream"]


class BlockSettings(Settings):
    """The size of a block."""

    kind: str = "xlnet"
    """Which one: a name of `BLOCKS`."""
    width: int = Field(default=64, ge=1)
    """Numbers in a state: as wide as what the features give."""
    layers: int = Field(default=2, ge=1)
    """Layers."""
    heads: int = Field(default=4, ge=1)
    """Attention heads of a layer, which share the width."""
    inner: int = Field(default=256, ge=1)
    """Width inside the feed-forward nets."""
    length: int = Field(default=50, ge=1)
    """Longest row that is read."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of entries zeroed in training, everywhere inside the block."""
    activation: str = "gelu"
    """Inside the feed-forward nets, as transformers names it."""
    epsilon: float = Field(default=1e-12, gt=0)
    """Of the layer norms."""
    spread: float = Field(default=0.02, gt=0)
    """Standard deviation of the first weights of blocks with attention heads."""
    groups: int = Field(default=1, ge=1)
    """Of ALBERT: layers with weights of their own; the others share them."""
    window: int = Field(default=8, ge=2)
    """Of Longformer and Reformer: how far attention reaches, an even number."""


class Block(nn.Module, ABC):
    """Turns (B, L, d) into (B, L, d)."""

    looks: ClassVar[frozenset[Looks]]
    """Where it can look."""

    @abstractmethod
    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """(B, L, d) states from (B, L, d); `inside` (B, L) says which places are real; with `back` no place knows those after it."""


class Masked(Block):
    """An encoder of transformers that looks both ways, or back alone where its mask says so."""

    looks = frozenset({"back", "both"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        self.model: nn.Module = _encoder(settings)

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Through the encoder, padding and what is ahead masked."""
        length = inputs.shape[1]
        allowed = inside[:, None, :].expand(-1, length, -1)
        if back:
            allowed = allowed & torch.ones(length, length, dtype=torch.bool, device=inputs.device).tril()
        # A row of padding alone must look somewhere, or its softmax is over nothing.
        allowed = allowed | torch.eye(length, dtype=torch.bool, device=inputs.device)
        mask = torch.zeros(allowed.shape, dtype=inputs.dtype, device=inputs.device).masked_fill(~allowed, torch.finfo(inputs.dtype).min)
        states: Tensor = self.model(inputs_embeds=inputs, attention_mask=mask[:, None]).last_hidden_state
        return states


class GPT2(Block):
    """Looks back, by its own making."""

    looks = frozenset({"back"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model

        share = settings.dropout
        config = GPT2Config(
            vocab_size=1,
            bos_token_id=None,
            eos_token_id=None,
            n_positions=settings.length + 1,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            n_inner=settings.inner,
            activation_function=settings.activation,
            resid_pdrop=share,
            embd_pdrop=share,
            attn_pdrop=share,
            layer_norm_epsilon=settings.epsilon,
            initializer_range=settings.spread,
        )
        self.model = GPT2Model(config)

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Padding stands on the right: nothing real looks at it."""
        del inside
        assert back
        states: Tensor = self.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return states


class XLNet(Block):
    """Relative places and two streams (arXiv:1906.08237). Whoever must look back alone is told so by the permutation mask."""

    looks = frozenset({"back", "both", "two-stream"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        from transformers import XLNetConfig, XLNetModel

        config = XLNetConfig(
            vocab_size=1,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
            d_model=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            d_inner=settings.inner,
            ff_activation=settings.activation,
            dropout=settings.dropout,
            layer_norm_eps=settings.epsilon,
            initializer_range=settings.spread,
        )
        self.model = XLNetModel(config)

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """By the content stream."""
        length = inputs.shape[1]
        ahead = torch.ones(length, length, device=inputs.device).triu(1)[None].expand(len(inputs), -1, -1) if back else None
        given = {"inputs_embeds": inputs, "attention_mask": inside.to(inputs.dtype), "perm_mask": ahead, "use_mems": False}
        states: Tensor = self.model(**given).last_hidden_state
        return states

    def two_streams(self, inputs: Tensor, inside: Tensor, perm_mask: Tensor, target_mapping: Tensor) -> Tensor:
        """(B, T, d) by the query stream, at the places of `target_mapping` (B, T, L); none sees what `perm_mask` (B, L, L) forbids."""
        states: Tensor = self.model(
            inputs_embeds=inputs,
            attention_mask=inside.to(inputs.dtype),
            perm_mask=perm_mask.to(inputs.dtype),
            target_mapping=target_mapping.to(inputs.dtype),
            use_mems=False,
        ).last_hidden_state
        return states


class Longformer(Block):
    """Attention in a window, both ways (arXiv:2004.05150)."""

    looks = frozenset({"both"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        from transformers import LongformerConfig, LongformerModel

        # It pads rows to whole windows, and its places begin behind the padding id.
        room = settings.length + 1 + settings.window + 2
        config = LongformerConfig(**_usual(settings) | {"max_position_embeddings": room}, attention_window=settings.window, sep_token_id=0)
        self.model = LongformerModel(config, add_pooling_layer=False)

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Padding is masked."""
        assert not back
        states: Tensor = self.model(inputs_embeds=inputs, attention_mask=inside.long()).last_hidden_state
        return states


class Reformer(Block):
    """Attention in chunks and reversible layers (arXiv:2001.04451), looking back."""

    looks = frozenset({"back"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        from transformers import ReformerConfig, ReformerModel

        self.window = settings.window
        room = -(-(settings.length + 1) // settings.window) * settings.window
        config = ReformerConfig(
            vocab_size=1,
            pad_token_id=0,
            eos_token_id=None,
            hidden_size=settings.width,
            attention_head_size=settings.width // settings.heads,
            num_attention_heads=settings.heads,
            feed_forward_size=settings.inner,
            hidden_act=settings.activation,
            attn_layers=["local"] * settings.layers,
            local_attn_chunk_length=settings.window,
            axial_pos_embds=False,
            max_position_embeddings=room,
            is_decoder=True,
            hidden_dropout_prob=settings.dropout,
            local_attention_probs_dropout_prob=settings.dropout,
            layer_norm_eps=settings.epsilon,
            initializer_range=settings.spread,
        )
        self.model = ReformerModel(config)
        self.joining = nn.Linear(2 * settings.width, settings.width)  # its two streams stand side by side

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Padding stands on the right: nothing real looks at it."""
        assert back
        length = inputs.shape[1]
        missing = -length % self.window  # it takes whole chunks alone
        padded, real = nn.functional.pad(inputs, (0, 0, 0, missing)), nn.functional.pad(inside.long(), (0, missing))
        states = self.model(inputs_embeds=padded, attention_mask=real, use_cache=False).last_hidden_state
        joined: Tensor = self.joining(states[:, :length])
        return joined


class Recurrent(Block):
    """GRU or LSTM."""

    looks = frozenset({"back"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        kind = nn.GRU if settings.kind == "gru" else nn.LSTM
        dropout = settings.dropout if settings.layers > 1 else 0.0
        self.model = kind(settings.width, settings.width, settings.layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(settings.dropout)  # torch's own stands between layers alone

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Padding stands on the right: nothing real is read after it."""
        del inside
        assert back
        states: Tensor = self.dropout(self.model(inputs)[0])
        return states


class MLP(Block):
    """Each event by itself: what attention and memory are worth is seen beside it."""

    looks = frozenset({"back"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(settings.layers):
            layers += [nn.Linear(settings.width, settings.inner), _activation(settings), nn.Dropout(settings.dropout)]
            layers += [nn.Linear(settings.inner, settings.width)]
        self.model = nn.Sequential(*layers)

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Place by place."""
        del inside
        assert back
        states: Tensor = self.model(inputs)
        return states


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
            nn.Linear(width, settings.inner), _activation(settings), nn.Dropout(settings.dropout), nn.Linear(settings.inner, width)
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


def _encoder(settings: BlockSettings) -> nn.Module:
    """One of transformers' encoders, from random weights."""
    import transformers as hf

    groups = min(settings.groups, settings.layers)
    made: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
        "bert": (hf.BertConfig, hf.BertModel, {}),
        "electra": (hf.ElectraConfig, hf.ElectraModel, {"embedding_size": settings.width}),
        "roberta": (hf.RobertaConfig, hf.RobertaModel, {"max_position_embeddings": settings.length + 2}),
        "albert": (hf.AlbertConfig, hf.AlbertModel, {"embedding_size": settings.width, "num_hidden_groups": groups}),
    }
    config, model, own = made[settings.kind]
    pooling = {} if settings.kind == "electra" else {"add_pooling_layer": False}
    built: nn.Module = model(config(**_usual(settings) | own), **pooling)
    return built


def _activation(settings: BlockSettings) -> nn.Module:
    """As transformers names it; an unknown one is a `ConfigError`."""
    from transformers.activations import ACT2FN

    if settings.activation not in ACT2FN:
        raise ConfigError(f"activation '{settings.activation}'{suggestion(settings.activation, list(ACT2FN))}")
    found: nn.Module = ACT2FN[settings.activation]
    return found


def _usual(settings: BlockSettings) -> dict[str, Any]:
    """What the encoders of BERT's kin are told."""
    return {
        "vocab_size": 1,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "hidden_size": settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": settings.inner,
        "hidden_act": settings.activation,
        "max_position_embeddings": settings.length + 1,
        "type_vocab_size": 1,
        "hidden_dropout_prob": settings.dropout,
        "attention_probs_dropout_prob": settings.dropout,
        "layer_norm_eps": settings.epsilon,
        "initializer_range": settings.spread,
    }

"""Blocks of the transformers library, from random weights: what masks them stands here, what they are does not."""

from typing import Any

import torch
from torch import Tensor, nn

from fathom.networks.block import Block, BlockSettings


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

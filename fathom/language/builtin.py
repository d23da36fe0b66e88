"""The language model that needs no download: a small Qwen3 decoder (arXiv:2505.09388), sized by one dial, from random weights."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from fathom.errors import ConfigError
from fathom.language.policy import LocalPolicy, Precision
from fathom.settings import Settings

WIDTHS = (192, 256, 320, 384, 512, 640, 768)
"""The widths to choose from; heads are 32 wide up to 384, then 64; three to five query heads share a key head."""

SPREAD = 0.02
"""Standard deviation of the random weights."""


class BuiltinSettings(Settings):
    """Size and make of the built-in language model.

    `parameters` chooses width and depth together, with an 8,192-token vocabulary:

    | parameters | width | layers | heads |
    |---|---|---|---|
    | 2.4M | 192 | 2 | 6 |
    | 3M | 192 | 3 | 6 |
    | 6M | 256 | 5 | 8 |
    | 10M | 320 | 6 | 10 |
    | 15M | 384 | 7 | 12 |
    | 30M | 512 | 9 | 8 |
    | 60M | 640 | 12 | 10 |
    | 120M | 768 | 17 | 12 |
    """

    parameters: float = Field(default=10e6, ge=2e6, le=120e6)
    """How many weights the model has, about; embeddings, which are shared with the output, are counted."""
    vocabulary: int = Field(default=8192, ge=300, le=65536)
    """How many tokens the tokenizer may learn; it may find fewer."""
    context: int = Field(default=1024, ge=64, le=32768)
    """How many tokens a row may have at most."""
    title_vectors: bool = False
    """Start the embeddings of title tokens from the text encoder's vectors of the titles they occur in."""


def build(
    settings: BuiltinSettings,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    titles: Sequence[str] = (),
    vectors: npt.NDArray[np.float32] | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
) -> LocalPolicy:
    """A policy with random weights, the same for the same seed.

    With `settings.title_vectors`, `vectors` (n, d) are the text encoder's unit vectors of `titles`.
    """
    width, layers = shape_of(settings.parameters, len(tokenizer))
    model = tiny(tokenizer, width=width, layers=layers, context=settings.context, seed=seed)
    policy = LocalPolicy(model, tokenizer, device=device, precision=precision)
    if settings.title_vectors:
        if vectors is None or len(vectors) != len(titles) or not len(titles):
            raise ConfigError("title_vectors is on, so `build` needs the titles and one vector for each: pass `titles` and `vectors`")
        start_titles(policy, titles, vectors, seed=seed)
    return policy


def tiny(tokenizer: PreTrainedTokenizerFast, *, width: int, layers: int, context: int, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 model of exactly this width (a multiple of 32) and depth, from seeded random weights."""
    head_width = 32 if width <= 384 else 64
    heads = width // head_width
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=_key_heads(heads),
        head_dim=head_width,
        max_position_embeddings=context,
        initializer_range=SPREAD,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator; it is put back afterwards
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    # Every decoding option is ours to set; none is inherited.
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def shape_of(parameters: float, vocabulary: int) -> tuple[int, int]:
    """(width, layers) with about `parameters` weights: of all widths the one whose depth is nearest to a layer per 55 of width."""
    shapes = [(width, max(2, round((parameters - vocabulary * width) / _layer_size(width)))) for width in WIDTHS]
    return min(shapes, key=lambda shape: abs(np.log(shape[1] * 55 / shape[0])))


def _key_heads(heads: int) -> int:
    """How many key-value heads `heads` query heads share: the divisor nearest above a fifth of them."""
    return next(count for count in range(max(1, -(-heads // 5)), heads + 1) if heads % count == 0)


def _layer_size(width: int) -> int:
    """Weights of one layer, norms aside: query and output, key and value, and a gated MLP three times as wide."""
    head_width = 32 if width <= 384 else 64
    return 2 * width * width + 2 * width * head_width * _key_heads(width // head_width) + 9 * width * width


def start_titles(policy: LocalPolicy, titles: Sequence[str], vectors: npt.NDArray[np.float32], *, seed: int) -> None:
    """Give the tokens of titles embeddings that know which titles are alike.

    Vectors (n, d) are centred, reduced to their first principal axes, turned by a seeded random rotation (so that no dimension
    is privileged) and made unit. A token takes the mean m of the vectors of the titles it occurs in, and keeps its random start e
    as far as those titles disagree: |m| ** 2 of its energy comes from m, the rest from e; the norm stays that of a random start.
    """
    weight = policy.embeddings
    width = weight.shape[1]
    generator = np.random.default_rng(seed)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:width]
    rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
    turned = centred @ axes.T @ rotation[: len(axes)]
    turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    sums, counts = np.zeros(tuple(weight.shape)), np.zeros(len(weight))
    for tokens, vector in zip(policy.table.encode_many([title + "\n" for title in titles]), turned, strict=True):
        for token in set(tokens):
            sums[token] += vector
            counts[token] += 1
    touched = np.flatnonzero(counts)
    means = sums[touched] / counts[touched, None]
    agreement = np.minimum((means**2).sum(axis=1, keepdims=True), 1.0)
    directed = means / np.maximum(np.sqrt(agreement), 1e-12) * SPREAD * np.sqrt(width)
    with torch.no_grad():
        start = weight[torch.from_numpy(touched)].cpu().double().numpy()
        mixed = np.sqrt(agreement) * directed + np.sqrt(1 - agreement) * start
        weight[torch.from_numpy(touched).to(weight.device)] = torch.from_numpy(mixed).to(weight)

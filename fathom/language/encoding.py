"""Texts become vectors by a language model: the mean of its hidden states, here or behind an address.

`text_encoder` knows every name of an encoder: those of `items.encoders`, `lm:FOLDER` for a language model here, and
`http://HOST/v1#MODEL` for an OpenAI-compatible endpoint, whose key is in OPENAI_API_KEY.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fathom.contracts import TextEncoder
from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.items.encoders import encoder
from fathom.language.remote_settings import RemoteSettings
from fathom.records import Floats

if TYPE_CHECKING:
    from fathom.language.policy import LocalPolicy

BATCH = 32
"""Texts that go through a model, or in one request, together."""


class StateEncoder:
    """The mean of a language model's last hidden states over the tokens of a text."""

    def __init__(self, folder: str) -> None:
        """`folder` of a model, as a run leaves it or transformers saves it; it is opened when the first text comes."""
        if not Path(folder).is_dir():
            raise ModelError(f"encoder 'lm:{folder}': there is no such folder")
        self._folder = Path(folder)
        digest = hashlib.sha256()
        for path in sorted(self._folder.glob("*.safetensors")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        self.name = f"lm-mean@{digest.hexdigest()[:16]}"
        """Says which weights make a vector."""

    @property
    def width(self) -> int:
        """How many dimensions a vector has; opens the model."""
        return int(self._policy.embeddings.shape[1])

    def encode(self, texts: Sequence[str]) -> Floats:
        """(n, width) float32, unit norm; the row of an empty text is zero. What is longer than the model reads loses its end."""
        return mean_states(self._policy, texts)

    @cached_property
    def _policy(self) -> "LocalPolicy":
        from fathom.language.policy import LocalPolicy

        return LocalPolicy.load(self._folder)


def mean_states(policy: "LocalPolicy", texts: Sequence[str]) -> Floats:
    """(n, width) float32 unit vectors: the mean over a text's tokens of the last hidden states; zero for a text without a token."""
    import torch

    rows = [torch.tensor(policy.encode(text)[: policy.context], dtype=torch.long) for text in texts]
    vectors = np.zeros((len(texts), policy.embeddings.shape[1]), dtype=np.float32)
    order = sorted((place for place, row in enumerate(rows) if len(row)), key=lambda place: len(rows[place]))
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            states = policy.hidden(torch.nn.utils.rnn.pad_sequence([rows[place] for place in part], batch_first=True)).float().cpu()
            vectors[part] = np.stack([state[: len(rows[place])].mean(dim=0).numpy() for place, state in zip(part, states, strict=True)])
    return _unit(vectors)


class EndpointEncoder:
    """An OpenAI-compatible endpoint's embeddings."""

    def __init__(self, address: str, model: str) -> None:
        try:
            import openai
        except ModuleNotFoundError as error:
            raise MissingExtraError("openai", "llm") from error
        self.name = f"{address}#{model}"
        self._settings = RemoteSettings.model_validate({"base_url": address, "model": model})
        self._key = os.environ.get(self._settings.api_key_variable, "")
        self._client = openai.OpenAI(base_url=address, api_key=self._key or "none", max_retries=self._settings.retries)

    @cached_property
    def width(self) -> int:
        """How many dimensions a vector has; asks once."""
        return int(self._asked(["a"]).shape[1])

    def encode(self, texts: Sequence[str]) -> Floats:
        """(n, width) float32, unit norm; the row of an empty text is zero, and nobody is asked for it."""
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        written = [place for place, text in enumerate(texts) if text.strip()]
        for start in range(0, len(written), BATCH):
            part = written[start : start + BATCH]
            vectors[part] = self._asked([texts[place] for place in part])
        return _unit(vectors)

    def _asked(self, texts: list[str]) -> Floats:
        import openai

        from fathom.language.remote import refusal

        try:
            told = self._client.embeddings.create(model=self._settings.model, input=texts, encoding_format="float")
        except openai.APIError as error:
            raise ModelError(refusal(error, self._settings, self._key, self._client)) from error
        return np.array([one.embedding for one in sorted(told.data, key=lambda one: one.index)], dtype=np.float32)


def text_encoder(name: str) -> TextEncoder:
    """The text encoder called `name`."""
    if name.startswith("lm:"):
        return StateEncoder(name[3:])
    if name.startswith(("http://", "https://")):
        address, hash_, model = name.partition("#")
        if not hash_ or not model:
            raise ConfigError(f"encoder '{name}': write the address, '#', and the endpoint's name of the model: {address}#MODEL")
        return EndpointEncoder(address, model)
    return encoder(name)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled

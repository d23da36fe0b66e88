"""One decoder, two heads: its language head writes, its last hidden state ranks (R²ec, arXiv:2505.16994, section 3.1).

    h(x) = hidden state after the final norm, behind the read-out string        of a person's prompt and reasoning, or of an item's prompt
    s(v) = cosine or dot product of h(person) and h(item v);   logits = s / temperature, in float32, over the whole catalogue

The head has no weights of its own: the table of item vectors is what the same model says of the items' prompts.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from fathom.contracts import Validate
from fathom.errors import ConfigError, ModelError
from fathom.files import folder_written_aside, read_json, write_json
from fathom.language.documents import followed
from fathom.language.policy import LocalPolicy
from fathom.language.trie import TitleTrie
from fathom.reasoners.prompts import READ_TOKEN, READOUT, ReasonerSettings, item_prompts
from fathom.recommenders.weights import recorded
from fathom.records import PAD, Catalog

Text = tuple[Sequence[int], int]
"""Tokens that end in the read-out, and how many of them are a person's prompt; an item's text is all its own: 0."""

CROWD = 8192
"""Tokens in one pass through the model: bounds memory, changes nothing but rounding."""

FACTS_FILE, TABLE_FILE = "dual_head.json", "items.safetensors"


class DualHead(nn.Module):
    """A language model that also gives vectors of people and items. What trains it sees all its weights; the table is a buffer."""

    table: Tensor
    """(N + 1, d) float32: each item's vector as of its last refresh, of unit norm for cosine; row `PAD` is zero."""

    def __init__(self, policy: LocalPolicy, catalog: Catalog, settings: ReasonerSettings) -> None:
        super().__init__()
        self.policy = policy
        self.model: nn.Module = policy.model
        self.settings = settings
        self.tail = _tail(policy, settings)
        """The ids that end every text: the read-out string's, and the dedicated token's if there is one."""
        self.longest = room = settings.prompt_tokens + settings.reasoning_tokens + len(self.tail)
        """Tokens of the longest prompt, reasoning and read-out."""
        if room > policy.context:
            raise ConfigError(
                f"prompt_tokens {settings.prompt_tokens}, reasoning_tokens {settings.reasoning_tokens} and the read-out's {len(self.tail)} "
                f"need {room} tokens, but the model reads {policy.context}: write smaller numbers"
            )
        self.items = self._item_tokens(catalog)
        """Per item id the tokens of its prompt; nothing for `PAD`."""
        self._catalog = catalog
        width = policy.embeddings.shape[1]
        self.learned = nn.Embedding(len(self.items), width) if settings.items == "learned" else None
        if self.learned is not None:
            nn.init.normal_(self.learned.weight, std=0.02)
        self.register_buffer("table", torch.zeros(len(self.items), width, device=policy.device))
        self.to(policy.device)

    @cached_property
    def untitled(self) -> list[tuple[int, ...]]:
        """As `items`, without the titles: training may read them so, whoever serves never asks."""
        return self._item_tokens(self._catalog, titled=False)

    @property
    def alone(self) -> tuple[int, ...]:
        """What is read out right behind a prompt that a reasoning follows; nothing unless `beside`."""
        return self.tail if self.settings.beside else ()

    @property
    def trie(self) -> TitleTrie:
        """The titles of the catalogue, token by token."""
        return self.policy.table.trie(self._catalog.titles)

    @property
    def n_items(self) -> int:
        """How many items it ranks; ids run from 1 to this number."""
        return len(self.items) - 1

    def get_output_embeddings(self) -> nn.Module | None:
        """The language head, as models of transformers name it: optimisers treat it apart."""
        head: nn.Module | None = self.policy.decoder.model.get_output_embeddings()
        return head

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within, vectors are those that people are served with: no gradients, no dropout, the policy's own precision."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), self.policy.decoder.autocast():
                yield
        finally:
            self.train(training)

    def read(self, texts: Sequence[Text]) -> Tensor:
        """(B, d) float32 vectors of texts that end in the read-out; with gradients where they are on. Batch mates change nothing."""
        if not texts:
            return torch.zeros(0, self.table.shape[1], device=self.table.device)
        return torch.cat([self._read(part) for part in _parts(texts)])

    def probe(self, count: int) -> Tensor:
        """The vector of a meaningless text of `count` tokens, with gradients, computed as in training."""
        with self.policy.decoder.autocast():
            return self.read([((self.tail * count)[:count], 0)])

    def served(self, hidden: Tensor, row: "Packed", spans: Tensor) -> Tensor:
        """(M, d) float32, the vectors that the texts of a `row` with these hidden states (T, width) are ranked by.

        `spans` (M,): how many tokens, up to its end, stand behind each one's prompt.
        """
        read = self.vectors(hidden, row.positions, row.ends, spans)
        if not self.settings.beside:
            return read
        nothing = row.alone == row.ends  # is said: then both are one read-out
        read = read + self.vectors(hidden, row.positions, row.alone, torch.where(nothing, spans, len(self.tail)))
        return normalize(read, dim=1) if self.settings.similarity == "cosine" else read / 2

    def vectors(self, hidden: Tensor, positions: Tensor, ends: Tensor, spans: Tensor) -> Tensor:
        """(M, d) float32, read out at places `ends` (M,) of the hidden states (T, width) of packed texts; of unit norm for cosine.

        `positions` (1, T) as `documents` has them; `spans` (M,): how many tokens, up to its end, stand behind each one's prompt.
        """
        hidden, ends, spans = hidden.float(), ends.to(hidden.device), spans.to(hidden.device)
        if self.settings.readout == "mean":
            owner = torch.repeat_interleave(torch.arange(len(ends), device=hidden.device), spans)
            within = torch.arange(len(owner), device=hidden.device) - torch.repeat_interleave(spans.cumsum(0) - spans, spans)
            sums = hidden.new_zeros(len(ends), hidden.shape[1]).index_add(0, owner, hidden[(ends - spans + 1)[owner] + within])
            read = sums / spans[:, None]
        else:
            read = hidden[ends]
        if self.settings.readout == "residual":
            prompt = followed(positions)[0].to(hidden.device)[ends - spans + 1]
            read = read + torch.where(prompt[:, None] >= 0, hidden[prompt], 0.0)
        return normalize(read, dim=1) if self.settings.similarity == "cosine" else read

    def item_vectors(self, items: Sequence[int], *, untitled: Sequence[bool] | None = None) -> Tensor:
        """(n, d) float32 live vectors of `items`, each from its prompt (or its learned row); with gradients where they are on.

        `untitled`: whose prompts are read without their titles.
        """
        if self.learned is not None:
            rows: Tensor = self.learned(torch.tensor(items, dtype=torch.long, device=self.table.device)).float()
            return normalize(rows, dim=1) if self.settings.similarity == "cosine" else rows
        bare = [False] * len(items) if untitled is None else untitled
        return self.read([(self.untitled[item] if without else self.items[item], 0) for item, without in zip(items, bare, strict=True)])

    def refresh(self, items: Sequence[int] | None = None) -> None:
        """Write the present vectors of `items` into the table; of all items, if none are named."""
        chosen = list(range(1, self.n_items + 1)) if items is None else list(items)
        if chosen:
            with self.at_rest():
                self.table[torch.tensor(chosen, device=self.table.device)] = self.item_vectors(chosen)

    def refreshed(self, validate: Validate | None) -> Validate | None:
        """`validate`, called with a fresh table; None for none."""
        if validate is None:
            return None

        def fresh() -> Mapping[str, float]:
            self.refresh()
            return validate()

        return fresh

    def logits(self, people: Tensor, table: Tensor | None = None) -> Tensor:
        """(B, N + 1) float32 logits of all items for `people` (B, d), -inf in column `PAD`; or (B, n) over the rows of another table."""
        with torch.autocast(people.device.type, enabled=False):
            logits = people.float() @ (self.table if table is None else table).float().T / self.settings.temperature
        if table is None:
            logits[:, PAD] = -torch.inf
        return logits

    def add_items(self, catalog: Catalog, *, titled: bool = True) -> None:
        """Take over a longer `catalog`, whose first items are the present ones; only the new ones are encoded. Nothing is trained.

        Without `titled` a new item is known by all else that its prompt says, for good.
        """
        if self.learned is not None:
            raise ModelError("items is 'learned': a classifier has no vector for an item it was not trained on; train with items: encoded")
        known = self.n_items
        if item_prompts(catalog, self.settings)[:known] != item_prompts(self._catalog, self.settings):
            raise ModelError(f"the first {known} items of the new catalogue must be the {known} that the model already ranks, unchanged")
        self.items += self._item_tokens(catalog, titled=titled)[known + 1 :]
        self._catalog = catalog
        self.__dict__.pop("untitled", None)  # of the shorter catalogue
        self.table = torch.cat([self.table, self.table.new_zeros(catalog.n_items - known, self.table.shape[1])])
        self.refresh(range(known + 1, catalog.n_items + 1))

    def save(self, folder: Path) -> None:
        """Write the language model and the table, whole or not at all; it says by which weights and which settings it was made."""
        tensors = {"table": self.table} | ({} if self.learned is None else {"learned": self.learned.weight})
        with folder_written_aside(folder) as aside:
            self.policy.save(aside)
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside / TABLE_FILE)
            write_json(aside / FACTS_FILE, {"settings": self.settings.model_dump(mode="json"), "made_by": _made_by(aside, self.settings)})

    @classmethod
    def load(cls, folder: Path, catalog: Catalog, *, device: str | torch.device = "cpu") -> "DualHead":
        """What was saved in `folder`. A table of other weights, another similarity or another catalogue is a `ModelError`."""
        facts = read_json(folder / FACTS_FILE) if (folder / FACTS_FILE).is_file() else None
        if not isinstance(facts, dict):
            raise ModelError(f"{folder}: there is no {FACTS_FILE} in it: it is not the folder of a model that reasons and ranks")
        settings = recorded(facts, ReasonerSettings, folder)
        if facts["made_by"] != _made_by(folder, settings):
            raise ModelError(
                f"{folder}: its item table was made by other weights, or with other settings, than those beside it; save the model again"
            )
        head = cls(LocalPolicy.load(folder, device=device), catalog, settings)
        saved = load_file(folder / TABLE_FILE)
        if saved["table"].shape != head.table.shape:
            raise ModelError(
                f"{folder}: its table has {len(saved['table']) - 1} items, the catalogue {head.n_items}: they do not belong together"
            )
        head.table.copy_(saved["table"])
        if head.learned is not None:
            head.learned.load_state_dict({"weight": saved["learned"]})
        return head.eval()

    def _item_tokens(self, catalog: Catalog, *, titled: bool = True) -> list[tuple[int, ...]]:
        prompts = self.policy.table.encode_many(item_prompts(catalog, self.settings, titled=titled))
        most = min(self.settings.item_tokens, self.policy.context - len(self.tail))
        return [(), *((*tokens[:most], *self.tail) for tokens in prompts)]

    def _read(self, texts: Sequence[Text]) -> Tensor:
        """(B, d) float32 of texts that go through the model side by side in one row, without any padding."""
        row = side_by_side(texts, alone=self.alone)
        spans = torch.tensor([len(tokens) - prompt for tokens, prompt in texts])
        return self.served(self.policy.hidden(row.tokens, row.positions)[0], row, spans)


class Packed(NamedTuple):
    """Texts in one row without padding."""

    tokens: Tensor
    """(1, T)"""
    positions: Tensor
    """(1, T) as `documents` has them."""
    ends: Tensor
    """(M,) where each text ends."""
    alone: Tensor
    """(M,) where each is read out right behind its prompt: its own end where nothing else stands there, or where nobody asks for it."""


def side_by_side(texts: Sequence[Text], *, alone: Sequence[int] = ()) -> Packed:
    """The texts in one row. Neighbours with one prompt, a person's several reasonings, are branches behind it: it is read once, and with
    `alone`, the read-out's tokens, it is read out once as another branch.

    >>> row = side_by_side([((5, 6, 7), 2), ((5, 6, 8, 9), 2), ((3, 4), 0)])
    >>> row.tokens.tolist(), row.positions.tolist(), row.ends.tolist()
    ([[5, 6, 7, 8, 9, 3, 4]], [[0, 1, 2, 2, 3, 0, 1]], [2, 4, 6])
    >>> row = side_by_side([((5, 6, 8, 1), 2), ((5, 6, 9, 1), 2), ((3, 1), 0)], alone=(1,))
    >>> row.tokens.tolist(), row.positions.tolist(), row.alone.tolist()
    ([[5, 6, 1, 8, 1, 9, 1, 3, 1]], [[0, 1, 2, 2, 3, 2, 3, 0, 1]], [2, 2, 8])
    """
    tokens: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    silent: list[int] = []
    before: Sequence[int] = ()
    for text, prompt in texts:
        shared = prompt if prompt and len(before) == prompt and tuple(text[:prompt]) == tuple(before) else 0
        speaks = bool(prompt and alone) and len(text) > prompt + len(alone)
        if speaks and not shared:
            tokens += [*text[:prompt], *alone]
            positions += range(prompt + len(alone))
            shared = prompt
            silence = len(tokens) - 1
        tokens += text[shared:]
        positions += range(shared, len(text))
        ends.append(len(tokens) - 1)
        silent.append(silence if speaks else ends[-1])
        before = text[:prompt] if speaks or not alone else ()
    row = (torch.tensor([tokens], dtype=torch.long), torch.tensor([positions], dtype=torch.long))
    return Packed(*row, torch.tensor(ends, dtype=torch.long), torch.tensor(silent, dtype=torch.long))


def _tail(policy: LocalPolicy, settings: ReasonerSettings) -> tuple[int, ...]:
    """The ids of the read-out string, and of the dedicated token if it is the one that is read."""
    tail = policy.encode(READOUT)
    if settings.readout != "token":
        return tail
    token = policy.encode(READ_TOKEN)
    if len(token) != 1:
        raise ConfigError(f"readout is token, but the tokenizer cuts {READ_TOKEN} into {len(token)} tokens: add it, or write readout: last")
    return tail + token


def _parts(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    """`texts` in pieces of at most `CROWD` tokens; a longer text is a piece of its own."""
    start, held = 0, 0
    for place, (tokens, _) in enumerate(texts):
        if held and held + len(tokens) > CROWD:
            yield texts[start:place]
            start, held = place, 0
        held += len(tokens)
    yield texts[start:]


def _made_by(folder: Path, settings: ReasonerSettings) -> str:
    """What stands for the weights in `folder` and for how vectors are made of them."""
    told = hashlib.sha256(settings.model_dump_json(exclude={"beside"}).encode())  # no item is read beside anything
    for path in sorted(folder.glob("*model*.safetensors")):
        told.update(path.read_bytes())
    return told.hexdigest()

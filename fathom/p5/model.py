"""One text-to-text network that answers every template: it ranks, chooses, judges, rates and writes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from safetensors.torch import save_file

from fathom.errors import ConfigError, ModelError
from fathom.files import Json, folder_written_aside, write_json
from fathom.language.trie import TitleTrie
from fathom.p5.beam import ConstrainedBeam
from fathom.p5.decoding import SideBySide
from fathom.p5.identifiers import Identifiers, IdentifierSettings
from fathom.p5.lexicon import Encoded, Lexicon
from fathom.p5.network import NetworkSettings, Padded, TextToText, padded, rebuilt, refuse_cut
from fathom.p5.sentences import Draw, Moment, Sentences, SentenceSettings
from fathom.p5.templates import Template
from fathom.p5.writing import WritingSettings, write
from fathom.prompting.ratings import expected_rating
from fathom.recommenders.weights import put_weights, read_facts, read_tensors, recorded
from fathom.records import PAD, Catalog, Ints, Ranking
from fathom.settings import Settings

Numbers = npt.NDArray[np.float64]

BEAM_ROWS = 1024
"""Beginnings that are decoded side by side: bounds memory, changes nothing but rounding."""


class P5Settings(Settings):
    """What one P5 is."""

    identifiers: IdentifierSettings = IdentifierSettings()
    """What items are called."""
    network: NetworkSettings = NetworkSettings()
    """The text-to-text network."""
    sentences: SentenceSettings = SentenceSettings()
    """What sentences say."""
    longest: int = Field(default=512, ge=16)
    """Tokens of a question, of whose middle the rest goes; and of an answer."""
    beams: int = Field(default=20, ge=1)
    """Beginnings of ids that are kept side by side when the catalogue is ranked."""
    exact: bool = False
    """Whether lists of which it is not proven that they are the best are searched again with more beams, until it is."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Questions that can be decoded together, and whose they are."""

    places: Ints
    source: Padded
    given: torch.Tensor
    """(B, G) what of the answers is given, behind the start."""


class P5:
    """A trained network, its words and its ids."""

    kind = "p5"

    def __init__(self, network: TextToText, lexicon: Lexicon, sentences: Sentences, settings: P5Settings, features: Sequence[str]) -> None:
        self.network = network.eval()
        self.lexicon = lexicon
        self.sentences = sentences
        self.settings = settings
        self.features = tuple(features)
        self.n_items = len(sentences.ids)
        self._beams: dict[str, ConstrainedBeam] = {}

    # What it answers -------------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def rank(self, template: Template, moments: Sequence[Moment], k: int, *, exclude: Sequence[Collection[int]]) -> Ranking:
        """(B, k) the items whose ids, or titles, are the likeliest answers, none of `exclude`; `PAD` where the beam found fewer."""
        found = Ranking(np.full((len(moments), k), PAD, dtype=np.int64), np.full((len(moments), k), -np.inf, dtype=np.float32))
        beam, beams = self._beam(template.answer), self.settings.beams
        for asked in self._asked(template, moments, [Draw()] * len(moments), rows=max(1, BEAM_ROWS // beams)):
            forbidden = [exclude[place] for place in asked.places.tolist()]
            told = beam.top(
                self.network.read(asked.source),
                asked.source.mask,
                asked.given,
                k,
                beams=beams,
                forbidden=forbidden,
                exact=self.settings.exact,
            )
            found.items[asked.places], found.scores[asked.places] = told.ranking.items, told.ranking.scores
        return found

    @torch.inference_mode()
    def choose(self, template: Template, moments: Sequence[Moment], lists: Sequence[Sequence[int]]) -> list[Numbers]:
        """Of each list of candidates, in its order, the log-likelihood of each as the answer."""
        beam, everybody = self._beam(template.answer), frozenset(range(1, self.n_items + 1))
        longest = max(map(len, lists), default=1)
        found: list[Numbers] = [np.zeros(0)] * len(moments)
        draws = [Draw(tuple(listed)) for listed in lists]
        for asked in self._asked(template, moments, draws, rows=max(1, BEAM_ROWS // longest)):
            listed = [lists[place] for place in asked.places.tolist()]
            forbidden = [everybody.difference(one) for one in listed]
            told = beam.top(
                self.network.read(asked.source), asked.source.mask, asked.given, longest, beams=longest, forbidden=forbidden, exact=True
            )
            for row, place in enumerate(asked.places.tolist()):
                scores = dict(zip(told.ranking.items[row].tolist(), told.ranking.scores[row].tolist(), strict=True))
                found[place] = np.array([scores[item] for item in lists[place]])
        return found

    @torch.inference_mode()
    def judge(self, template: Template, moments: Sequence[Moment], draws: Sequence[Draw]) -> Numbers:
        """(B,) the probability of the word for it among the two verdicts, where their tokens first differ."""
        yes, no = (self.lexicon.word(word) for word in template.verdicts)
        same = next((place for place, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), min(len(yes), len(no)))
        ends = [[*one, self.lexicon.end][same] for one in (yes, no)]
        found = np.zeros(len(moments))
        for asked in self._asked(template, moments, draws, rows=BEAM_ROWS):
            shared = torch.tensor([yes[:same]] * len(asked.given), dtype=torch.int64, device=asked.given.device)
            tokens = torch.cat([asked.given, shared.view(len(asked.given), same)], dim=1)
            hidden = SideBySide(self.network, self.network.read(asked.source), asked.source.mask).go_on(tokens[:, None])[:, 0]
            pair = self.network.say(hidden)[:, ends].double().cpu()
            found[asked.places] = pair.softmax(dim=1)[:, 0].numpy()
        return found

    @torch.inference_mode()
    def stars(self, template: Template, moments: Sequence[Moment]) -> Numbers:
        """(B,) the expected rating over the scale: sum of v p(v) by the likelihoods of its strings."""
        scale = self.sentences.scale
        if not scale:
            raise ConfigError("this model was trained on a log without ratings: it has no scale to rate by")
        texts = [(*self.lexicon.word(self.sentences.stars(value)), self.lexicon.end) for value in scale]
        beam = ConstrainedBeam(self.network, TitleTrie(texts))
        found = np.zeros(len(moments))
        for asked in self._asked(template, moments, [Draw()] * len(moments), rows=BEAM_ROWS // len(scale)):
            nobody: list[Collection[int]] = [()] * len(asked.places)
            told = beam.top(
                self.network.read(asked.source), asked.source.mask, asked.given, len(scale), beams=len(scale), forbidden=nobody, exact=True
            )
            for row, place in enumerate(asked.places.tolist()):
                values = [scale[which - 1] for which in told.ranking.items[row].tolist()]
                found[place] = expected_rating(told.ranking.scores[row].tolist(), values)
        return found

    @torch.inference_mode()
    def write(self, template: Template, moments: Sequence[Moment], settings: WritingSettings) -> list[str]:
        """Of each the text that is written as the answer."""
        found = [""] * len(moments)
        for asked in self._asked(template, moments, [Draw()] * len(moments), rows=max(1, BEAM_ROWS // settings.beams)):
            read, mask = self.network.read(asked.source), asked.source.mask
            barred = [self.lexicon.pad, *self.lexicon.of_ids]
            texts = write(self.network, read, mask, end=self.lexicon.end, barred=barred, settings=settings)
            for place, tokens in zip(asked.places.tolist(), texts, strict=True):
                found[place] = self.lexicon.decode(tokens)
        return found

    # How it is asked -------------------------------------------------------------------------------------------------------------

    def _asked(self, template: Template, moments: Sequence[Moment], draws: Sequence[Draw], *, rows: int) -> list[_Asked]:
        """The questions in batches of at most `rows`, each of answers with equally much given, and of like length."""
        texts = [self.sentences.ask(template, moment, draw) for moment, draw in zip(moments, draws, strict=True)]
        sources = self.lexicon.encode_many([source for source, _ in texts])
        for source in sources if template.asks == "candidates" else ():
            refuse_cut(source, self.settings.longest)
        given = [tuple(one.tokens) for one in self.lexicon.encode_many([start for _, start in texts])]
        lengths = np.array([[len(start), len(source.tokens)] for start, source in zip(given, sources, strict=True)]).reshape(-1, 2)
        order = np.lexsort((lengths[:, 1], lengths[:, 0]))
        device = next(self.network.parameters()).device
        found = []
        for group in np.split(order, np.flatnonzero(np.diff(lengths[order, 0])) + 1):
            for places in np.split(group, range(rows, len(group), rows)) if len(group) else []:
                batch = padded([cast(Encoded, sources[place]) for place in places.tolist()], self.lexicon, longest=self.settings.longest)
                starts = torch.tensor([[self.network.start, *given[place]] for place in places.tolist()], dtype=torch.int64)
                found.append(_Asked(places, batch.to(device), starts.to(device)))
        return found

    def _beam(self, answer: str) -> ConstrainedBeam:
        """The beam over what items are called in an answer: their ids, or their titles; each is made once."""
        if answer not in self._beams:
            texts = self.sentences.ids if answer == "item" else self.sentences.titles
            sequences = Identifiers([(text,) for text in texts]).sequences(self.lexicon)
            self._beams[answer] = ConstrainedBeam(self.network, TitleTrie(sequences))
        return self._beams[answer]

    # How it is kept --------------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, whole or not at all; catalogue and people stay where they are."""
        facts: dict[str, Json] = {
            "kind": self.kind,
            "n_items": self.n_items,
            "settings": self.settings.model_dump(mode="json"),
            "config": self.network.config,
            "ids": list(self.sentences.ids),
            "scale": list(self.sentences.scale),
            "features": list(self.features),
        }
        tied = _tied(self.network)
        weights = {name: tensor for name, tensor in self.network.state_dict().items() if name not in tied}
        with folder_written_aside(folder) as aside:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, aside / "model.safetensors")
            write_json(aside / "model.json", facts)
            self.lexicon.save(aside / "tokenizer")

    @classmethod
    def load(cls, folder: Path, catalog: Catalog, people: Sequence[str]) -> "P5":
        """The model saved in `folder`, for the catalogue that it was trained on; another one is a `ModelError`."""
        facts = read_facts(folder, cls.kind)
        settings = recorded(facts, P5Settings, folder)
        ids = [str(text) for text in cast(list[Json], facts["ids"])]
        if len(ids) != catalog.n_items:
            raise ModelError(f"{folder}: it knows {len(ids):,} items, and this catalogue has {catalog.n_items:,}: train it again")
        lexicon = Lexicon.load(folder / "tokenizer")
        network = rebuilt(cast(dict[str, Any], facts["config"]), settings.network.lora)
        tensors = read_tensors(folder)
        put_weights(network, {**tensors, **{name: tensors[first] for name, first in _tied(network).items() if first in tensors}}, folder)
        scale = [float(str(value)) for value in cast(list[Json], facts["scale"])]
        sentences = Sentences(catalog, Identifiers([(text,) for text in ids]), people, scale, settings.sentences)
        return cls(network, lexicon, sentences, settings, [str(word) for word in cast(list[Json], facts["features"])])


def _tied(network: TextToText) -> dict[str, str]:
    """Other names of the same tensor -> its first name: the token vectors have several."""
    first: dict[int, str] = {}
    found = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if (known := first.setdefault(id(tensor), name)) != name:
            found[name] = known
    return found

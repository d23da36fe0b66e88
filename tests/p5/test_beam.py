"""The beam writes ids that exist, each once, none that is forbidden, and says whether it is exact (checklist P8)."""

from collections.abc import Collection, Sequence

import numpy as np
import pytest
import torch

from fathom.language.trie import TitleTrie
from fathom.p5.beam import ConstrainedBeam
from fathom.p5.identifiers import Identifiers
from fathom.p5.lexicon import Lexicon, train_lexicon
from fathom.p5.network import NetworkSettings, Padded, TextToText, build, padded
from fathom.records import PAD
from fathom.training.run import noise_from

QUESTIONS = ("person 1043 has taken heat", "next ?", "the war of the star")
FORBIDDEN: tuple[Collection[int], ...] = ({1, 2, 3}, (), range(1, 40))


def fixed() -> Identifiers:
    """Forty ids of three tokens."""
    return Identifiers([(f"‹a_{item // 16}›", f"‹b_{item // 4 % 4}›", f"‹c_{item % 4}›") for item in range(40)])


def titles() -> Identifiers:
    """Forty titles of one word to three, many of which begin others."""
    rng = np.random.default_rng(0)
    words = ["heat", "alien", "the", "war", "star", "of"]
    made = dict.fromkeys(" ".join(rng.choice(words, size=rng.integers(1, 4))) for _ in range(90))
    return Identifiers([(title,) for title in list(made)[:40]])


def setup(ids: Identifiers) -> tuple[TextToText, Lexicon, Padded, torch.Tensor]:
    """A random network that is fairly sure of itself, and questions that it has read."""
    lexicon = train_lexicon(["person 1043 has taken heat alien the war star of next ?"] * 20, 300, added=ids.added)
    with noise_from(0):
        network = build(NetworkSettings(width=32), lexicon).eval()
    with torch.no_grad():
        network.t5.get_input_embeddings().weight.mul_(2.0)
        source = padded(lexicon.encode_many(QUESTIONS), lexicon, longest=99)
        return network, lexicon, source, network.read(source)


def brute(network: TextToText, source: Padded, sequences: Sequence[Sequence[int]]) -> np.ndarray:  # type: ignore[type-arg]
    """(B, n_items + 1) the sum of the log-probabilities of each id's tokens, each id decoded whole."""
    scores = np.full((len(source.tokens), len(sequences) + 1), -np.inf)
    for item, tokens in enumerate(sequences, start=1):
        inputs = torch.tensor([[network.start, *tokens[:-1]]] * len(source.tokens))
        with torch.no_grad():
            logprobs = network.logits(source, inputs).double().log_softmax(dim=-1)
        scores[:, item] = logprobs[:, range(len(tokens)), list(tokens)].sum(dim=1)
    return scores


@pytest.mark.parametrize("ids", [fixed(), titles()], ids=["fixed", "titles"])
@pytest.mark.parametrize("beams", [1, 4, 40])
def test_what_is_found_exactly_is_what_scoring_every_id_finds(ids: Identifiers, beams: int) -> None:
    network, lexicon, source, read = setup(ids)
    sequences = ids.sequences(lexicon)
    want = brute(network, source, sequences)
    for row, items in enumerate(FORBIDDEN):
        want[row, list(items)] = -np.inf
    beam = ConstrainedBeam(network, TitleTrie(sequences))
    given = torch.full((3, 1), network.start)
    found = beam.top(read, source.mask, given, 10, beams=beams, forbidden=FORBIDDEN, exact=True)
    assert found.exact.all()
    order = np.lexsort((np.broadcast_to(np.arange(41), want.shape), -want), axis=1)[:, :10]
    best = np.take_along_axis(want, order, axis=1)
    assert (found.ranking.items == np.where(np.isfinite(best), order, PAD)).all()
    assert np.allclose(found.ranking.scores, best, atol=1e-4)


@pytest.mark.parametrize("ids", [fixed(), titles()], ids=["fixed", "titles"])
def test_a_narrow_beam_says_when_it_may_be_wrong(ids: Identifiers) -> None:
    """Where it says that it is exact it is; somewhere it is not, and says so. All it finds is legal, allowed and different."""
    network, lexicon, source, read = setup(ids)
    sequences = ids.sequences(lexicon)
    beam, given = ConstrainedBeam(network, TitleTrie(sequences)), torch.full((3, 1), network.start)
    exact = beam.top(read, source.mask, given, 10, beams=2, forbidden=FORBIDDEN, exact=True).ranking.items
    found = beam.top(read, source.mask, given, 10, beams=2, forbidden=FORBIDDEN)
    assert (found.ranking.items[found.exact] == exact[found.exact]).all()
    assert not found.exact.all()
    for row, items in enumerate(found.ranking.items.tolist()):
        there = [item for item in items if item != PAD]
        assert there
        assert len(set(there)) == len(there)
        assert not set(there) & set(FORBIDDEN[row])


def test_batch_mates_and_padding_change_nothing() -> None:
    ids = fixed()
    network, lexicon, source, read = setup(ids)
    beam = ConstrainedBeam(network, TitleTrie(ids.sequences(lexicon)))
    given = torch.full((3, 1), network.start)
    together = beam.top(read, source.mask, given, 5, beams=3, forbidden=FORBIDDEN).ranking
    for row in range(3):
        alone = padded(lexicon.encode_many([QUESTIONS[row]]), lexicon, longest=99)
        with torch.no_grad():
            own = network.read(alone)
        found = beam.top(own, alone.mask, given[:1], 5, beams=3, forbidden=FORBIDDEN[row : row + 1]).ranking
        assert found.items.tolist() == together.items[row : row + 1].tolist()
        assert np.allclose(found.scores, together.scores[row : row + 1], atol=1e-5)


def test_where_everything_is_forbidden_nothing_is_found() -> None:
    ids = fixed()
    network, lexicon, source, read = setup(ids)
    beam = ConstrainedBeam(network, TitleTrie(ids.sequences(lexicon)))
    given = torch.full((3, 1), network.start)
    found = beam.top(read, source.mask, given, 5, beams=3, forbidden=[range(1, 41)] * 3, exact=True)
    assert (found.ranking.items == PAD).all()
    assert found.exact.all()

"""Beginnings side by side have the states that the network's own decoder has: sampling = training."""

import torch

from fathom.p5.decoding import SideBySide
from fathom.p5.lexicon import train_lexicon
from fathom.p5.network import NetworkSettings, build, padded
from fathom.training.run import noise_from


def test_states_are_those_of_training_for_every_beginning_of_every_question() -> None:
    """Three beginnings of two questions of unlike length; two of them go on twice, in another order; then one question is forgotten."""
    lexicon = train_lexicon(["what is next after heat and alien ?"] * 9, 300, added=())
    with noise_from(0):
        network = build(NetworkSettings(width=32), lexicon).eval()
    source = padded(lexicon.encode_many(["what is next ?", "what is next after heat and alien and heat ?"]), lexicon, longest=99)
    rng = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randint(3, lexicon.size, shape, generator=rng)

    with torch.no_grad():
        decoder = SideBySide(network, network.read(source), source.mask)
        start = torch.full((2, 1, 1), network.start)
        given = torch.cat([start, drawn(2, 1, 3)], dim=2)
        hidden = decoder.go_on(given)
        text = given
        for parents in (torch.tensor([[0, 0, 0], [0, 0, 0]]), torch.tensor([[2, 0], [1, 1]]), torch.tensor([[1, 0], [0, 1]])):
            more = drawn(*parents.shape, 1)
            hidden = decoder.go_on(more, parents)
            text = torch.cat([text[torch.arange(2)[:, None], parents], more], dim=2)
            for beginning in range(parents.shape[1]):
                want = network.logits(source, text[:, beginning])[:, -1]
                assert torch.allclose(network.say(hidden[:, beginning]), want, atol=1e-4)
        decoder.keep(torch.tensor([1]))
        more = drawn(1, 2, 1)
        hidden = decoder.go_on(more)
        for beginning in range(2):
            whole = torch.cat([text[1:, beginning], more[:, beginning]], dim=1)
            alone = padded(lexicon.encode_many(["what is next after heat and alien and heat ?"]), lexicon, longest=99)
            assert torch.allclose(network.say(hidden[:, beginning]), network.logits(alone, whole)[:, -1], atol=1e-4)

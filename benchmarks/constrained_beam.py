"""What it costs to write only ids that exist: the beam over a catalogue's trie beside `generate` of transformers, which may write anything.

python benchmarks/constrained_beam.py                       3,400 and 17,000 items, 256 users, 20 beams, the tiny network
python benchmarks/constrained_beam.py --model small         T5-small from random weights, as large as people use

Both read the same questions, keep as many beginnings side by side and write as many tokens: three for each id, as collaborative ids have.
The encoder's part is in both times. Seen items are excluded from the one, of the other nothing can be. Ratio: time with the trie over time
without; the aim is at most 1.3. A network of random weights is asked: what it says does not change what it costs.
"""

import argparse
import time

import numpy as np
import torch
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from fathom.language.trie import TitleTrie
from fathom.p5.beam import ConstrainedBeam
from fathom.p5.identifiers import Identifiers
from fathom.p5.lexicon import Lexicon, train_lexicon
from fathom.p5.network import NetworkSettings, Padded, TextToText, build, padded
from fathom.training.run import noise_from

HISTORY = 20
"""Events of each question."""


def named(n_items: int) -> Identifiers:
    """Ids of three tokens: 16 clusters of up to 32, and a place."""
    wide = -(-n_items // (16 * 32))
    return Identifiers([(f"‹c1_{item % 16}›", f"‹c2_{item // 16 % 32}›", f"‹place_{item // 512 % wide}›") for item in range(n_items)])


def unconstrained(network: TextToText, source: Padded, beams: int, new: int) -> None:
    """What transformers writes by itself."""
    states = BaseModelOutput(last_hidden_state=network.read(source))
    chosen = GenerationConfig(
        num_beams=beams,
        num_return_sequences=beams,
        min_new_tokens=new,
        max_new_tokens=new,
        do_sample=False,
        decoder_start_token_id=network.start,
        pad_token_id=network.t5.config.pad_token_id,
        eos_token_id=network.t5.config.eos_token_id,
    )
    network.t5.generate(encoder_outputs=states, attention_mask=source.mask.long(), generation_config=chosen)


def constrained(network: TextToText, beam: ConstrainedBeam, source: Padded, beams: int, seen: list[list[int]]) -> None:
    """The best items among those that there are."""
    given = torch.full((len(source.tokens), 1), network.start)
    beam.top(network.read(source), source.mask, given, beams, beams=beams, forbidden=seen)


@torch.inference_mode()
def measured(n_items: int, model: str, users: int, batch: int, beams: int, rounds: int) -> tuple[float, float]:
    """Seconds for all users, the best of several rounds: with the trie, and without."""
    ids, rng = named(n_items), np.random.default_rng(0)
    lexicon: Lexicon = train_lexicon(["person 1001 began with what comes next ?"] * 9, 300, added=ids.added)
    with noise_from(0):
        network = build(NetworkSettings(model=model), lexicon).eval()
    beam = ConstrainedBeam(network, TitleTrie(ids.sequences(lexicon)))
    seen = [(rng.permutation(n_items)[:HISTORY] + 1).tolist() for _ in range(users)]
    texts = [f"person {1001 + user} began with {' '.join(ids.texts[item - 1] for item in items)}" for user, items in enumerate(seen)]
    parts = [
        (padded(lexicon.encode_many(texts[at : at + batch]), lexicon, longest=512), seen[at : at + batch]) for at in range(0, users, batch)
    ]
    best = [float("inf")] * 2
    for _ in range(rounds):
        for which in range(2):
            began = time.perf_counter()
            for source, taken in parts:
                if which:
                    unconstrained(network, source, beams, 3)
                else:
                    constrained(network, beam, source, beams, taken)
            best[which] = min(best[which], time.perf_counter() - began)
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[3400, 17000])
    parser.add_argument("--model", default="tiny", choices=["tiny", "small", "base"])
    parser.add_argument("--users", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(f"{asked.users} users, {asked.beams} beams, three tokens, {asked.model} network, {torch.get_num_threads()} threads")
    for n_items in asked.items:
        ours, theirs = measured(n_items, asked.model, asked.users, asked.batch, asked.beams, asked.rounds)
        each = (1000 * seconds / asked.users for seconds in (ours, theirs))
        print(f"{n_items:>7,} items: {next(each):6.2f} ms a user over the trie, {next(each):6.2f} ms without, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()

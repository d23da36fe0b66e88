"""Several-turn episodes: the rollout engine against transformers' `generate`, called turn by turn as one would without it.

    python benchmarks/rollout.py [--episodes 64] [--turns 3] [--write 40] [--shown 20] [--repeats 3]

Same random model of about 10M parameters, same prompts, same inserted lists, same batch, greedy, one process. A random
model stops nowhere sensible, so every episode is told how many tokens to write in each turn: between a quarter of `--write` and
`--write`, drawn once, as thoughts differ in length. `generate` reads the whole conversation anew at each turn, padded on the
left, and goes on until its last row is done; the engine keeps its cache between turns and lets finished rows leave. Both must
write the same tokens in float32, otherwise the program says so and ends with 1.
Prints one JSON object. Times are the best of `--repeats` alternating runs.
"""

import argparse
import json
import sys
import time

import numpy as np
import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from fathom.language.builtin import BuiltinSettings, build
from fathom.language.engine import LocalConversation
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer

ADJECTIVES = ("Quiet", "Burning", "Last", "Golden", "Broken", "Silent", "Distant", "Hidden", "Electric", "Frozen")
NOUNS = ("River", "Empire", "Garden", "Signal", "Winter", "Harbour", "Machine", "Letter", "Mountain", "Stranger")
TITLES = tuple(f"The {adjective} {noun} ({1970 + year})" for year in range(30) for adjective in ADJECTIVES for noun in NOUNS)


def main() -> int:
    """Run the comparison; 1 if the two sides wrote different tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", type=int, default=40, help="tokens written a turn")
    parser.add_argument("--shown", type=int, default=20, help="titles inserted after each turn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--history", type=int, default=60, help="lines of the shortest history; the longest has 40 more")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights, for both sides")
    chosen = parser.parse_args()
    texts = ["User:\n" + "".join(f"{title}\n" for title in TITLES[start::7]) for start in range(7)]
    texts.append("".join(f"{place}. {TITLES[place]}\n" for place in range(1, chosen.shown + 1)))
    tokenizer = train_tokenizer(texts * 3, 8192, markers=["<think>", "</think>"])
    policy = build(BuiltinSettings(parameters=10e6), tokenizer, seed=0)
    policy.model.eval().to(getattr(torch, chosen.dtype))
    policy.model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id)  # neither side may stop early
    prompts = [
        "User:\n" + "".join(f"{title}\n" for title in TITLES[row * 13 : row * 13 + chosen.history + row % 41])
        for row in range(chosen.episodes)
    ]
    lists = [
        [
            "\n" + "".join(f"{n}. {TITLES[(row * 31 + turn * 7 + n) % 3000]}\n" for n in range(1, chosen.shown + 1))
            for row in range(chosen.episodes)
        ]
        for turn in range(chosen.turns)
    ]
    lengths = np.random.default_rng(0).integers(chosen.write // 4, chosen.write + 1, size=(chosen.turns, chosen.episodes)).tolist()
    times: dict[str, list[float]] = {"engine": [], "generate": []}
    for _ in range(chosen.repeats):
        results = []
        for name, play in (("engine", with_engine), ("generate", with_generate)):
            start = time.perf_counter()
            results.append(play(policy, prompts, lists, lengths))
            times[name].append(time.perf_counter() - start)
        # Float rounding may turn a tie in a row; more than one row in a hundred would be a mistake.
        different = sum(left != right for left, right in zip(*results, strict=True))
        if chosen.dtype == "float32" and different > 0.01 * chosen.episodes:
            print(f"{different} of {chosen.episodes} episodes differ", file=sys.stderr)
            return 1
    engine, generate = min(times["engine"]), min(times["generate"])
    written = sum(map(sum, lengths))
    print(
        json.dumps(
            {
                "parameters": policy.model.num_parameters(),
                "episodes": chosen.episodes,
                "turns": chosen.turns,
                "written_tokens": written,
                "engine_seconds": round(engine, 3),
                "generate_seconds": round(generate, 3),
                "engine_tokens_per_second": round(written / engine),
                "ratio": round(generate / engine, 2),
                "dtype": chosen.dtype,
                "threads": torch.get_num_threads(),
            },
            indent=2,
        )
    )
    return 0


class Enough(StoppingCriteria):
    """Each row is done when it has written as many tokens as it was told."""

    def __init__(self, start: int, limits: list[int]) -> None:
        self._ends = start + torch.tensor(limits)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: object) -> torch.BoolTensor:
        """(B,) which rows are done."""
        return input_ids.shape[1] >= self._ends


def with_engine(policy: LocalPolicy, prompts: list[str], lists: list[list[str]], lengths: list[list[int]]) -> list[list[int]]:
    """The tokens of every episode, by the rollout engine."""
    rows = range(len(prompts))
    talk = LocalConversation(
        policy.decoder,
        policy.table,
        policy.table.encode_many(prompts),
        temperature=0.0,
        seeds=[0] * len(prompts),
        ends=frozenset(),  # an untrained model would end anywhere
        context=policy.context,
    )
    for shown, limits in zip(lists, lengths, strict=True):
        talk.reply(rows, [], limits)
        talk.extend(rows, shown)
    return [list(talk.tokens(row)) for row in rows]


def with_generate(policy: LocalPolicy, prompts: list[str], lists: list[list[str]], lengths: list[list[int]]) -> list[list[int]]:
    """The tokens of every episode, by `generate` on the whole conversation at each turn."""
    episodes = [list(policy.encode(prompt)) for prompt in prompts]
    padding = policy.tokenizer.pad_token_id
    for shown, limits in zip(lists, lengths, strict=True):
        longest = max(map(len, episodes))
        ids = torch.tensor([[padding] * (longest - len(tokens)) + tokens for tokens in episodes])
        mask = torch.tensor([[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in episodes])
        with torch.inference_mode():
            enough = StoppingCriteriaList([Enough(longest, limits)])
            out = policy.model.generate(ids, attention_mask=mask, max_new_tokens=max(limits), stopping_criteria=enough, do_sample=False)
        episodes = [
            tokens + new[:limit] + list(policy.encode(text))
            for tokens, new, limit, text in zip(episodes, out[:, longest:].tolist(), limits, shown, strict=True)
        ]
    return episodes


if __name__ == "__main__":
    sys.exit(main())

"""Several-turn episodes: the rollout engine against transformers' `generate`, called turn by turn as one would without it.

    python benchmarks/rollout.py [--episodes 64] [--turns 3] [--write 40] [--shown 20] [--repeats 3]

Same random model of about 10M parameters in float32, same prompts, same number of written and inserted tokens, same batch,
greedy, one process. `generate` reads the whole conversation anew at each turn, padded on the left, and writes with its own
cache; the engine keeps its cache between turns. Both must write the same tokens, otherwise the program says so and ends with 1.
Prints one JSON object. Times are the best of `--repeats` alternating runs.
"""

import argparse
import json
import sys
import time

import torch
from transformers import GenerationConfig

from fathom.language.builtin import BuiltinSettings, build
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
    chosen = parser.parse_args()
    texts = ["User:\n" + "".join(f"{title}\n" for title in TITLES[start::7]) for start in range(7)]
    tokenizer = train_tokenizer(texts * 3, 8192, markers=["<think>", "</think>"])
    policy = build(BuiltinSettings(parameters=10e6), tokenizer, seed=0)
    policy.model.eval()
    policy.model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id)  # neither side may stop early
    prompts = ["User:\n" + "".join(f"{title}\n" for title in TITLES[row * 13 : row * 13 + 12 + row % 9]) for row in range(chosen.episodes)]
    lists = [
        [
            "\n" + "".join(f"{n}. {TITLES[(row * 31 + turn * 7 + n) % 3000]}\n" for n in range(1, chosen.shown + 1))
            for row in range(chosen.episodes)
        ]
        for turn in range(chosen.turns)
    ]
    times: dict[str, list[float]] = {"engine": [], "generate": []}
    for _ in range(chosen.repeats):
        results = []
        for name, play in (("engine", with_engine), ("generate", with_generate)):
            start = time.perf_counter()
            results.append(play(policy, prompts, lists, write=chosen.write))
            times[name].append(time.perf_counter() - start)
        # Float rounding may turn a tie in a row; more than one row in a hundred would be a mistake.
        different = sum(left != right for left, right in zip(*results, strict=True))
        if different > 0.01 * chosen.episodes:
            print(f"{different} of {chosen.episodes} episodes differ", file=sys.stderr)
            return 1
    engine, generate = min(times["engine"]), min(times["generate"])
    written = chosen.episodes * chosen.turns * chosen.write
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
                "threads": torch.get_num_threads(),
            },
            indent=2,
        )
    )
    return 0


def with_engine(policy: LocalPolicy, prompts: list[str], lists: list[list[str]], *, write: int) -> list[list[int]]:
    """The tokens of every episode, by the rollout engine."""
    rows = range(len(prompts))
    talk = policy.converse(prompts, temperature=0.0, seeds=[0] * len(prompts))
    talk._ends = frozenset()  # an untrained model would end anywhere
    for shown in lists:
        talk.reply(rows, [], [write] * len(prompts))
        talk.extend(rows, shown)
    return [list(talk.tokens(row)) for row in rows]


def with_generate(policy: LocalPolicy, prompts: list[str], lists: list[list[str]], *, write: int) -> list[list[int]]:
    """The tokens of every episode, by `generate` on the whole conversation at each turn."""
    episodes = [list(policy.encode(prompt)) for prompt in prompts]
    padding = policy.tokenizer.pad_token_id
    for shown in lists:
        longest = max(map(len, episodes))
        ids = torch.tensor([[padding] * (longest - len(tokens)) + tokens for tokens in episodes])
        mask = torch.tensor([[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in episodes])
        with torch.inference_mode():
            out = policy.model.generate(ids, attention_mask=mask, max_new_tokens=write, min_new_tokens=write, do_sample=False)
        episodes = [
            tokens + new + list(policy.encode(text)) for tokens, new, text in zip(episodes, out[:, longest:].tolist(), shown, strict=True)
        ]
    return episodes


if __name__ == "__main__":
    sys.exit(main())

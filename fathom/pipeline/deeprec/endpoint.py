"""A language model behind an OpenAI-compatible endpoint plays the same protocol, over a stated number of test users.

It reads the long prompt, since it has never seen the protocol. Answers are cached, so a second call asks only for what is new;
when the token budget is used up, the row is about the users whose conversations were finished by then.
"""

from collections.abc import Callable, Mapping

import numpy as np
from rich.console import Console

from fathom.agents.play import play
from fathom.agents.protocol import ProtocolSettings
from fathom.agents.recommender import Played
from fathom.errors import ConfigError
from fathom.evaluation.evaluate import Evaluation, evaluate
from fathom.evaluation.results import Difference
from fathom.evaluation.rows import make_comparisons
from fathom.evaluation.said import save_said
from fathom.files import read_json, write_json
from fathom.items.embed import cache_folder
from fathom.pipeline.deeprec.recipe import EndpointSettings
from fathom.pipeline.deeprec.workshop import DeepRecWorkshop
from fathom.pipeline.workshop import sampled
from fathom.records import Episode
from fathom.training.run import progress

ENDPOINT = "endpoint"
"""The name of the row."""

OTHERS = ("retriever", "lm", "agent", "agent-scored")
"""With whom the endpoint is compared, on its own users alone."""


def judge_endpoint(work: DeepRecWorkshop) -> None:
    """Let the endpoint play; leaves its ranks, its episodes and what they cost in the run folder."""
    settings = work.recipe.endpoint
    if settings is None:
        raise ConfigError("--model endpoint: the recipe names no endpoint; write endpoint: {base_url: ..., model: ...}")
    with progress(f"judging {ENDPOINT}", min(settings.users, len(work.test_cases))) as advance:
        episodes, tokens = played(work, settings, progress=advance)
    save_said(work.folder("episodes") / f"{ENDPOINT}.jsonl.gz", episodes)
    write_json(work.folder("episodes") / f"{ENDPOINT}.json", {"tokens": tokens})
    cases = [episode.case for episode in episodes]
    evaluation = evaluate(Played(episodes, "written", work.retriever), cases)
    evaluation.save(work.folder("ranks") / f"{ENDPOINT}.parquet")


def played(work: DeepRecWorkshop, settings: EndpointSettings, *, progress: Callable[[int], None]) -> tuple[list[Episode], int]:
    """The finished conversations, in the order of the test cases, and the tokens that they cost, those of cached answers counted too.

    Cases are played in a random order, so that those which a budget leaves out are a random part.
    """
    from fathom.language.remote import BudgetError, RemotePolicy

    policy = RemotePolicy(settings, cache=cache_folder() / ENDPOINT)
    cases = sampled(work.test_cases, settings.users, seed=work.recipe.seed)
    order = np.random.default_rng(work.recipe.seed).permutation(len(cases)).tolist()
    finished: dict[int, Episode] = {}
    tokens = 0
    for start in range(0, len(order), settings.parallel):
        chosen = order[start : start + settings.parallel]
        try:
            episodes = play(
                policy,
                work.retriever,
                [cases[index] for index in chosen],
                work.catalog,
                long_protocol(work.recipe.protocol),
                titles=work.titles,
            )
        except BudgetError as error:
            if not finished:
                raise
            Console().print(f"  {len(finished)} of {len(cases)} users: {error}", highlight=False, markup=False)
            break
        finished.update(zip(chosen, episodes, strict=True))
        tokens = policy.due.tokens
        progress(len(chosen))
    return [finished[index] for index in sorted(finished)], tokens


def long_protocol(protocol: ProtocolSettings) -> ProtocolSettings:
    """The recipe's conversation with the long prompt; its limits in tokens, made for the recipe's own model, give way to the usual ones."""
    usual = ProtocolSettings()
    return protocol.model_copy(
        update={
            "prompt": "long",
            "constrained": False,  # an endpoint chooses from its whole vocabulary
            "segment_tokens": usual.segment_tokens,
            "trajectory_tokens": usual.trajectory_tokens,
            "prompt_tokens": usual.prompt_tokens,
        }
    )


def endpoint_figures(work: DeepRecWorkshop, users: int) -> dict[str, float]:
    """`endpoint_tokens`: tokens, read and written, per user."""
    kept = read_json(work.folder("episodes") / f"{ENDPOINT}.json")
    tokens = kept.get("tokens") if isinstance(kept, dict) else None
    return {"endpoint_tokens": float(str(tokens)) / users}


def endpoint_comparisons(evaluations: Mapping[str, Evaluation], *, seed: int) -> list[Difference]:
    """The endpoint against `OTHERS`, each on the endpoint's users alone."""
    if ENDPOINT not in evaluations:
        return []
    own = evaluations[ENDPOINT]
    same = {name: evaluations[name] for name in OTHERS if name in evaluations}
    narrowed = {name: other.subset(np.flatnonzero(np.isin(other.users, own.users))) for name, other in same.items()}
    return make_comparisons({ENDPOINT: own, **narrowed}, [(ENDPOINT, name) for name in narrowed], seed=seed)

"""Play with a real language model: the scored finish is its own likelihood, and batches change nothing."""

from collections.abc import Sequence

import pytest
import torch
from worlds import Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.play import play
from fathom.agents.protocol import MARKERS, ProtocolSettings, answer_lines, opening
from fathom.contracts import Over
from fathom.language.builtin import tiny
from fathom.language.engine import LocalConversation
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Case, Floats, Reply

FILMS = film_catalog()
SETTINGS = ProtocolSettings(items_per_call=5, prompt_tokens=200, trajectory_tokens=1_000)


@pytest.fixture(scope="module")
def policy() -> LocalPolicy:
    everything = Case(0, tuple(range(1, 41)), 0)
    texts = [opening(everything, FILMS, ProtocolSettings(history_length=40)), answer_lines(range(1, 41), FILMS)] * 10
    tokenizer = train_tokenizer(texts, 900, markers=MARKERS)
    return LocalPolicy(tiny(tokenizer, width=64, layers=2, context=1_024, seed=0), tokenizer)


class Dictated:
    """The real model, but its words are dictated; item lists, likelihoods and token ids are its own."""

    at_once = 64

    def __init__(self, policy: LocalPolicy, texts: Sequence[str]) -> None:
        self.encode, self.decode = policy.encode, policy.decode
        self.policy, self.texts = policy, texts

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> "DictatedConversation":
        conversation = self.policy.converse(prompts, temperature=temperature, seeds=seeds)
        return DictatedConversation(conversation, [list(self.texts) for _ in prompts])


class DictatedConversation:
    def __init__(self, real: LocalConversation, texts: list[list[str]]) -> None:
        self.real, self.texts = real, texts

    def reply(
        self,
        rows: Sequence[int],
        stops: Sequence[str],
        limits: Sequence[int],
        over: Over | None = None,
        barred: Sequence[str] = (),
    ) -> list[Reply]:
        assert over is None
        assert not barred
        replies = []
        for row in rows:
            text = self.texts[row].pop(0)
            end, stop = min((text.index(stop) + len(stop), stop) for stop in stops if stop in text)
            if text[end:]:
                self.texts[row].insert(0, text[end:])
            [tokens] = self.real.extend([row], [text[:end]])
            replies.append(Reply(text[:end], tokens, (-1.0,) * len(tokens), stop))
        return replies

    def extend(self, rows: Sequence[int], texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self.real.extend(rows, texts)

    def score(self, rows: Sequence[int], continuations: Sequence[Sequence[str]]) -> list[Floats]:
        return self.real.score(rows, continuations)


SCRIPT = [asks("war"), asks("love"), concludes(range(20, 30), FILMS)]


def test_the_scored_finish_is_the_models_own_likelihood_of_each_line(policy: LocalPolicy) -> None:
    [episode] = play(Dictated(policy, SCRIPT), Shelves(40), [film_case()], FILMS, SETTINGS, finish="scored")
    context = policy.encode(film_opening(episode.text))
    likelihoods = {}
    for item in episode.retrieved:
        line = policy.encode(f"\n1. {FILMS.title(item)}\n")
        tokens = torch.tensor([[*context, *line]])
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        mask[0, len(context) :] = True
        likelihoods[item] = policy.logprobs(tokens, mask).sum().item()
    assert list(episode.scored) == sorted(episode.retrieved, key=lambda item: -likelihoods[item])


def film_opening(text: str) -> str:
    """Everything the model had read when its list was scored."""
    return (
        "User:\nFilm 17\nFilm 18\nFilm 19\nAssistant:\n<think>\n"
        + text[: text.index("<recommendation_list>") + len("<recommendation_list>")]
    )


def test_the_scored_finish_is_the_same_in_any_batch(policy: LocalPolicy) -> None:
    cases = [film_case(history=tuple(range(17, 18 + number))) for number in range(6)]
    scored = [
        [episode.scored for episode in play(Dictated(policy, SCRIPT), Shelves(40), cases, FILMS, SETTINGS, batch_size=size, finish="both")]
        for size in (1, 4, 6)
    ]
    assert scored[0] == scored[1] == scored[2]


def test_sampled_words_are_the_same_in_any_batch_and_other_ones_with_another_seed(policy: LocalPolicy) -> None:
    settings = ProtocolSettings(prompt_tokens=200, trajectory_tokens=400, segment_tokens=40)
    cases = [film_case(history=(17 + number,)) for number in range(5)]

    def texts(*, size: int, seed: int) -> list[str]:
        return [e.text for e in play(policy, Shelves(40), cases, FILMS, settings, temperature=1.0, seed=seed, batch_size=size)]

    assert texts(size=1, seed=1) == texts(size=5, seed=1)
    assert texts(size=5, seed=1) != texts(size=5, seed=2)


def test_sampled_tokens_have_the_log_probabilities_of_training(policy: LocalPolicy) -> None:
    settings = ProtocolSettings(prompt_tokens=200, trajectory_tokens=400, segment_tokens=40)
    [episode] = play(policy, Shelves(40), [film_case()], FILMS, settings, temperature=1.0, seed=5)
    assert episode.tape is not None
    mask = torch.tensor([episode.tape.sampled])
    again = policy.logprobs(torch.tensor([episode.tape.tokens]), mask)
    assert torch.allclose(again[mask], torch.tensor([episode.tape.logprobs])[mask], atol=1e-4)

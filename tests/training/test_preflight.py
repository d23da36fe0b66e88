"""Dry episodes: what is shown, and what is refused."""

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from worlds import Shelves, asks, concludes, film_case, film_catalog

from fathom.agents.dialogue import Dialogue
from fathom.agents.play import play
from fathom.agents.protocol import ANSWER_CLOSE, END_PREF, MARKERS, ProtocolSettings, opening
from fathom.data.titles import TitleIndex
from fathom.errors import ModelError
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import Ending, Episode, Reply, Tape
from fathom.training.preflight import check_loss, coloured, logprob_faults, mask_faults, preflight, reward_faults
from fathom.training.rollouts import Player, divergence, figures, is_judged, means
from fathom.training.watch import Watch, WatchSettings

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(answer_length=3, items_per_call=4, segment_tokens=12, trajectory_tokens=300, prompt_tokens=200)
CASES = tuple(film_case(history=(17 + place, 20), target=1 + place) for place in range(4))
WORDS = [*(opening(case, CATALOG, PROTOCOL) for case in CASES), asks("Drama"), concludes([1, 2, 3], CATALOG)]
TOKENIZER = train_tokenizer(WORDS, 400, markers=MARKERS)


def policy() -> LocalPolicy:
    return LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=512, seed=1), TOKENIZER)


def player(samples: int = 4) -> Player:
    return Player(policy(), Shelves(CATALOG.n_items), CASES, CATALOG, PROTOCOL, TitleIndex(CATALOG), samples, 1)


def small_ids(episode: Episode) -> Mapping[str, float]:
    assert episode.tape is not None
    own = [token for token, sampled in zip(episode.tape.tokens, episode.tape.sampled, strict=True) if sampled]
    return {"total": sum(token < 200 for token in own) / len(own)}


def with_one_call() -> Episode:
    """A conversation with one call and one answer, on the tape as a sampler would put it."""
    model = policy()
    dialogue = Dialogue(CASES[0], CATALOG, TitleIndex(CATALOG), ProtocolSettings(answer_length=3, items_per_call=4))
    first, last = asks("Drama"), concludes([1, 2, 3], CATALOG)
    dialogue.hear(Reply(first, stop=END_PREF))
    shown = dialogue.show((5, 6, 7, 8))
    assert shown is not None
    dialogue.hear(Reply(last, stop=ANSWER_CLOSE))
    pieces = [(dialogue.opening, False), (first, True), (shown, False), (last, True)]
    encoded = [(model.encode(text), own) for text, own in pieces]
    tokens = tuple(token for ids, _ in encoded for token in ids)
    sampled = tuple(own for ids, own in encoded for _ in ids)
    return dialogue.episode(tape=Tape(tokens, sampled, (0.0,) * len(tokens), len(encoded[0][0])))


def test_a_healthy_start_is_shown_in_colours_and_passes() -> None:
    out = io.StringIO()
    assert preflight(player(), small_ids, prompts=3, console=Console(file=out, width=100)) == []
    assert "a dry episode" in out.getvalue()
    assert "Film 20" in out.getvalue()


def test_colours_say_who_wrote_what() -> None:
    text = coloured(with_one_call(), policy())
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert [style for words, style in styles.items() if "begin_of_item_list" in words] == ["blue"]
    assert [style for words, style in styles.items() if "begin_of_preference" in words] == ["green"]
    assert [style for words, style in styles.items() if words.startswith("User:")] == ["dim"]


def test_a_mask_that_agrees_with_who_wrote_what_passes() -> None:
    assert mask_faults([with_one_call()], policy(), CATALOG, protocol=PROTOCOL) == []


def test_an_item_list_that_counts_as_the_models_words_is_refused() -> None:
    episode = with_one_call()
    assert episode.tape is not None
    claimed = tuple(place >= episode.tape.prompt for place in range(len(episode.tape.tokens)))
    forged = replace(episode, tape=replace(episode.tape, sampled=claimed))
    assert "is not marked as inserted whole" in mask_faults([forged], policy(), CATALOG, protocol=PROTOCOL)[0]


def test_a_prompt_that_counts_as_the_models_words_is_refused() -> None:
    episode = with_one_call()
    assert episode.tape is not None
    forged = replace(episode, tape=replace(episode.tape, sampled=(True,) * len(episode.tape.tokens)))
    assert "prompt is marked as written by the model" in mask_faults([forged], policy(), CATALOG, protocol=PROTOCOL)[0]


def test_other_weights_than_those_that_sampled_are_refused() -> None:
    episodes = play(policy(), Shelves(40), CASES, CATALOG, PROTOCOL, temperature=1.0)
    assert logprob_faults(episodes, policy(), CATALOG) == []
    other = policy()
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.mul_(1.5)
    assert "the sampler does not use the weights that are trained" in logprob_faults(episodes, other, CATALOG)[0]


def test_equal_rewards_are_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match="take more samples, harder cases"):
        preflight(player(), lambda episode: {"total": 1.0}, prompts=2, console=Console(file=io.StringIO()))


def test_a_warning_instead_of_a_refusal_is_printed() -> None:
    out = io.StringIO()
    console = Console(file=out, width=200)
    assert len(preflight(player(), lambda episode: {"total": 1.0}, prompts=2, refuse=False, console=console)) == 1
    assert "warning: rewards" in out.getvalue()


def failed(episode: Episode) -> Episode:
    return replace(episode, ending=Ending.RETRIEVAL_FAILED)


def test_episodes_that_the_retriever_failed_do_not_count() -> None:
    episode = with_one_call()
    assert is_judged(episode)
    assert not is_judged(failed(episode))
    assert "the retriever failed in every episode" in reward_faults([failed(episode)] * 2, small_ids, [0, 0])[0]


def test_the_wrong_loss_is_refused() -> None:
    ids = torch.tensor([[1, 2, 3]])
    mask = torch.ones_like(ids)
    batch = {
        "prompt_ids": ids,
        "prompt_mask": mask,
        "completion_ids": ids + 5,
        "completion_mask": mask,
        "tool_mask": mask,
        "old_per_token_logps": torch.full((1, 3), -5.0),
        "advantages": torch.tensor([1.0]),
    }
    with pytest.raises(ModelError, match="the trainer's first loss is 7"):
        check_loss(7.0, batch, policy(), None, positions=torch.arange(6)[None], tokens=3.0, limits=(0.2, 0.28))


def test_divergence_is_zero_from_oneself_and_positive_from_another() -> None:
    episodes = play(policy(), Shelves(40), CASES, CATALOG, PROTOCOL, temperature=1.0)
    other = policy()
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.mul_(1.5)
    assert max(divergence(policy(), episodes, CATALOG)) < 1e-6
    assert min(divergence(other, episodes, CATALOG)) > 0


def test_figures_of_an_episode() -> None:
    values = figures(with_one_call(), {"total": 2.0}, {"ndcg": 0.5})
    assert values["reward/total"] == 2.0
    assert values["heldout/ndcg"] == 0.5
    assert values["turns"] == 1.0
    assert values["off_list"] == 1.0, "items 1, 2 and 3 were not among 5 to 8"
    assert values["invalid_lines"] == 0.0
    assert means([{"a": 1.0}, {"a": 3.0, "b": 4.0}]) == {"a": 2.0, "b": 4.0}


HEALTHY = {"well_formed": 0.95, "entropy": 1.0, "groups_that_differ": 1.0, "kl": 0.01}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"well_formed": 0.2}, "only 20% of the episodes are well formed, after 95% before"),
        ({"entropy": 0.001}, "the entropy per token fell from 1 to 0.001"),
        ({"entropy": 50.0}, "the entropy per token rose from 1 to 50"),
        ({"kl": 9.0}, "9 nats per token from its start"),
    ],
)
def test_a_collapse_stops_the_training_with_its_reason(values: dict[str, float], message: str) -> None:
    watch = Watch(WatchSettings())
    watch.look(1, HEALTHY)
    with pytest.raises(ModelError, match=message):
        watch.look(2, HEALTHY | values)


def test_a_policy_that_never_was_well_formed_has_not_collapsed() -> None:
    watch = Watch(WatchSettings())
    watch.look(1, HEALTHY | {"well_formed": 0.1})
    watch.look(2, HEALTHY | {"well_formed": 0.05})


def test_flat_rewards_stop_only_when_they_stay_flat() -> None:
    watch = Watch(WatchSettings(flat_steps=2))
    for step, share in enumerate((0.0, 0.5, 0.0)):
        watch.look(step, HEALTHY | {"groups_that_differ": share})
    with pytest.raises(ModelError, match="for 2 steps"):
        watch.look(3, HEALTHY | {"groups_that_differ": 0.0})


def test_a_retriever_that_fails_stops_the_training() -> None:
    watch = Watch(WatchSettings())
    watch.look(2, HEALTHY | {"failed": 0.4})
    with pytest.raises(ModelError, match="step 3: the retriever failed 60% of the episodes"):
        watch.look(3, HEALTHY | {"failed": 0.6})
    with pytest.raises(ModelError, match="step 4: the retriever failed 100% of the episodes"):
        watch.look(4, {"failed": 1.0, "entropy": 0.0, "groups_that_differ": 0.0})

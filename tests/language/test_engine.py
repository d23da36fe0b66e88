import numpy as np
import pytest
import torch

from fathom.errors import ConfigError, ModelError
from fathom.language import engine
from fathom.language.drafts import Draft
from fathom.language.policy import LocalPolicy

PROMPTS = (
    "User:\nHeat (1995)\n<think>\n",
    "User:\nAlien (1979)\nThe Matrix\nRan\n<think>\n",
    "User:\n<think>\n",
    "User:\nHeat (1995)\n<think>\n",
)
STOPS = ("</think>", "<|end_of_item_list|>")


def judged(policy: LocalPolicy, tokens: tuple[int, ...]) -> list[float]:
    """The log-probability of every token but the first, by the training path."""
    ids = torch.tensor([tokens])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 0] = False
    with torch.no_grad():
        values: list[float] = policy.logprobs(ids, mask)[0, 1:].tolist()
    return values


def greedy_by_hand(policy: LocalPolicy, tokens: list[int], count: int) -> list[int]:
    """What the untouched transformers model writes, the whole text anew for every token."""
    tokens = list(tokens)
    for _ in range(count):
        with torch.no_grad():
            tokens.append(int(policy.model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens


def test_three_turns_are_token_for_token_what_the_plain_model_writes(policy: LocalPolicy) -> None:
    talk = policy.converse(PROMPTS, temperature=0.0, seeds=[0, 0, 0, 0])
    expected = [list(policy.encode(prompt)) for prompt in PROMPTS]
    for turn in range(3):
        for row, reply in enumerate(talk.reply([0, 1, 2, 3], [], [5, 9, 7, 5])):
            expected[row] = greedy_by_hand(policy, expected[row], len(reply.tokens))
        added = talk.extend([0, 1, 2, 3], [f"\n{turn}. Ran\n" * (row + 1) for row in range(4)])
        for row, tokens in enumerate(added):
            expected[row].extend(tokens)
    assert [list(talk.tokens(row)) for row in range(4)] == expected


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_row_does_not_depend_on_its_batch_mates_or_their_order(policy: LocalPolicy, temperature: float) -> None:
    def play(rows: list[int]) -> dict[int, tuple[int, ...]]:
        talk = policy.converse([PROMPTS[row] for row in rows], temperature=temperature, seeds=[row + 5 for row in rows])
        places = list(range(len(rows)))
        for limit in (4, 12):
            talk.reply(places, STOPS, [limit + rows[place] for place in places])
            talk.extend(places, ["\nRan\n"] * len(rows))
        talk.reply(places, STOPS, [6] * len(rows))
        return {rows[place]: talk.tokens(place) for place in places}

    together = play([0, 1, 2, 3])
    assert play([3, 1, 0, 2]) == together
    assert {row: play([row])[row] for row in range(4)} == together


def test_seeds_make_samples_of_one_prompt_differ(policy: LocalPolicy) -> None:
    talk = policy.converse([PROMPTS[0]] * 3, temperature=1.0, seeds=[1, 2, 1])
    first, second, third = talk.reply([0, 1, 2], [], [12] * 3)
    assert first.tokens == third.tokens != second.tokens


def test_sampling_logprobs_are_the_training_logprobs(policy: LocalPolicy) -> None:
    talk = policy.converse(PROMPTS, temperature=0.8, seeds=[1, 2, 3, 4])
    sampled: list[list[tuple[int, float]]] = [[] for _ in PROMPTS]
    for _ in range(2):
        starts = [len(talk.tokens(row)) for row in range(4)]
        for row, reply in enumerate(talk.reply([0, 1, 2, 3], ["</think>"], [10] * 4)):
            sampled[row] += zip(range(starts[row], starts[row] + len(reply.tokens)), reply.logprobs, strict=True)
        talk.extend([0, 1, 2, 3], ["\nHeat (1995)\n"] * 4)
    for row in range(4):
        values = judged(policy, talk.tokens(row))
        for place, logprob in sampled[row]:
            assert values[place - 1] == pytest.approx(logprob, abs=1e-4)


def test_samples_follow_the_model_distribution(policy: LocalPolicy) -> None:
    count = 4000
    talk = policy.converse(["Ran\n"] * count, temperature=1.0, seeds=list(range(count)))
    drawn = np.bincount([reply.tokens[0] for reply in talk.reply(range(count), [], [1] * count)], minlength=len(policy.tokenizer))
    with torch.no_grad():
        wanted = policy.model(torch.tensor([policy.encode("Ran\n")])).logits[0, -1].double().softmax(dim=0).numpy()
    # A sum of (drawn - expected)^2 / expected over V tokens has mean V - 1 and deviation sqrt(2 (V - 1)).
    chi_square = ((drawn - count * wanted) ** 2 / (count * wanted)).sum()
    assert abs(chi_square - len(wanted)) < 5 * np.sqrt(2 * len(wanted))


def test_scores_are_those_of_judging_each_continuation_alone(policy: LocalPolicy, titles: tuple[str, ...]) -> None:
    talk = policy.converse(PROMPTS, temperature=1.0, seeds=[1, 2, 3, 4])
    talk.reply([0, 1, 2, 3], STOPS, [3, 9, 5, 7])
    talk.extend([1, 2], ["\nRan\n", "\n"])
    lists = [[title + "\n" for title in titles], ["something unheard of\n", "some\n"], [], ["Ran\n", ""]]
    before = [talk.tokens(row) for row in (2, 0, 3, 1)]
    scores = talk.score([2, 0, 3, 1], lists)
    for tokens, texts, values in zip(before, lists, scores, strict=True):
        alone = [sum(judged(policy, tokens + policy.encode(text))[len(tokens) - 1 :]) for text in texts]
        assert values.tolist() == pytest.approx(alone, abs=1e-4)
    assert [talk.tokens(row) for row in (2, 0, 3, 1)] == before


def test_scoring_does_not_disturb_what_is_written_next(policy: LocalPolicy) -> None:
    plain = policy.converse(PROMPTS, temperature=1.0, seeds=[1, 2, 3, 4])
    scored = policy.converse(PROMPTS, temperature=1.0, seeds=[1, 2, 3, 4])
    for talk in (plain, scored):
        talk.reply([0, 1, 2, 3], [], [4, 8, 2, 6])
        if talk is scored:
            talk.score([3, 1], [["a long description\n"] * 2, ["Heat (1995)\n", "of something\n"]])
    for left, right in zip(plain.reply([0, 1, 2, 3], [], [9] * 4), scored.reply([0, 1, 2, 3], [], [9] * 4), strict=True):
        assert left.tokens == right.tokens
        assert left.logprobs == pytest.approx(right.logprobs, abs=1e-5)


def written(policy: LocalPolicy, pieces: list[str], stops: tuple[str, ...]) -> Draft:
    """The draft after the model 'sampled' these pieces, one token or more each."""
    row, draft = engine.Row([0], seed=0), Draft(limit=100)
    talk = policy.converse(["Ran\n"], temperature=0.0, seeds=[0])
    for token in (token for piece in pieces for token in policy.encode(piece)):
        if not talk._write(row, draft, token=token, logprob=-1.0, stops=[stop.encode() for stop in stops]):
            break
    assert row.tokens[1:] == draft.tokens
    return draft


def test_a_stop_of_one_token_ends_the_reply_with_itself(policy: LocalPolicy) -> None:
    reply = written(policy, ["Ran\n", "</think>", "Ran\n"], STOPS).reply()
    assert (reply.text, reply.stop, reply.spill) == ("Ran\n</think>", "</think>", 0)
    assert reply.tokens == policy.encode("Ran\n</think>")


def test_a_stop_spelled_letter_by_letter_is_seen(policy: LocalPolicy) -> None:
    reply = written(policy, list("</think>"), STOPS).reply()
    assert (reply.text, reply.stop) == ("</think>", "</think>")
    assert len(reply.tokens) == 8


def test_a_token_that_spills_past_a_stop_is_replaced_and_marked_as_not_sampled(policy: LocalPolicy) -> None:
    assert len(policy.encode("Heat (1995)\n")) == 1
    reply = written(policy, ["Ran\n", "Heat (1995)\n"], ("Heat (1", "never")).reply()
    kept = policy.encode("Heat (1")
    assert (reply.text, reply.stop, reply.spill) == ("Ran\nHeat (1", "Heat (1", len(kept))
    assert reply.tokens == policy.encode("Ran\n") + kept
    assert reply.logprobs == (-1.0,) * len(policy.encode("Ran\n")) + (0.0,) * len(kept)


def test_the_end_of_text_token_is_kept_on_the_row_and_left_out_of_the_text(policy: LocalPolicy) -> None:
    talk = policy.converse(["Ran\n"], temperature=0.0, seeds=[0])
    row, draft = engine.Row([0], seed=0), Draft(limit=9)
    assert not talk._write(row, draft, token=policy.tokenizer.eos_token_id, logprob=-1.0, stops=[])
    assert draft.reply().tokens == (policy.tokenizer.eos_token_id,)
    assert draft.reply().text == ""


def test_a_row_without_room_replies_with_nothing_and_others_go_on(policy: LocalPolicy) -> None:
    talk = policy.converse(["Ran\n", "Ran\n"], temperature=0.0, seeds=[0, 0])
    talk.extend([0], ["Ran\n" * policy.context])
    full, other = talk.reply([0, 1], [], [5, 5])
    assert (full.text, full.tokens, full.stop) == ("", (), None)
    assert len(other.tokens) == 5
    with pytest.raises(ModelError, match="reads at most"):
        talk.score([0], [["Ran\n"]])


def test_writing_stops_at_the_end_of_the_context(policy: LocalPolicy) -> None:
    talk = policy.converse(["Ran\n" * (policy.context - 3)], temperature=0.0, seeds=[0])
    assert len(talk.reply([0], [], [50])[0].tokens) == 3


def test_long_news_go_through_the_model_in_pieces(policy: LocalPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    def play() -> list[tuple[int, ...]]:
        talk = policy.converse(PROMPTS, temperature=1.0, seeds=[1, 2, 3, 4])
        talk.reply([0, 1, 2, 3], [], [3] * 4)
        talk.extend([0, 1, 2, 3], ["Ran\nHeat (1995)\n" * 9] * 4)
        talk.reply([0, 1, 2, 3], [], [6] * 4)
        return [talk.tokens(row) for row in range(4)]

    whole = play()
    monkeypatch.setattr(engine, "PIECE", 4)
    monkeypatch.setattr(engine, "CROWD", 9)
    assert play() == whole


def test_prompts_that_cannot_be_read_are_refused(policy: LocalPolicy) -> None:
    with pytest.raises(ModelError, match="prompt 1 has 0 tokens"):
        policy.converse(["Ran\n", ""], temperature=0.0, seeds=[0, 0])
    with pytest.raises(ModelError, match="reads 1 to 160"):
        policy.converse(["Ran\n" * 500], temperature=0.0, seeds=[0])
    with pytest.raises(ConfigError, match="temperature is -1"):
        policy.converse(["Ran\n"], temperature=-1.0, seeds=[0])


def test_the_model_is_left_as_it_was(policy: LocalPolicy) -> None:
    before = policy.model.config._attn_implementation
    policy.model.train()
    policy.converse(["Ran\n"], temperature=0.0, seeds=[0]).reply([0], [], [3])
    assert policy.model.training
    assert policy.model.config._attn_implementation == before != "fathom_rows"
    policy.model.eval()

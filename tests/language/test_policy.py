from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from fathom.errors import ConfigError, ModelError
from fathom.language.builtin import BuiltinSettings, build, shape_of, start_titles, tiny
from fathom.language.policy import LocalPolicy


def test_a_saved_policy_comes_back_the_same(policy: LocalPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path / "lm")
    again = LocalPolicy.load(tmp_path / "lm")
    assert not list((tmp_path / "lm").glob("*.bin")), "no pickles"
    assert again.precision == policy.precision
    assert again.ends == policy.ends
    for text in ("1. 7. Dollars\n</think>\n", "日本 <|endoftext|>\n"):
        assert again.encode(text) == policy.encode(text)
    ids = torch.tensor([policy.encode("User:\nHeat (1995)\nRan\n")])
    with torch.no_grad():
        assert torch.equal(again.hidden(ids), policy.hidden(ids))


def test_loading_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        LocalPolicy.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="neither a saved model"):
        LocalPolicy.load(tmp_path / "empty")


def test_logprobs_are_those_of_the_plain_model_where_asked_and_zero_elsewhere(policy: LocalPolicy) -> None:
    ids = torch.tensor([policy.encode("User:\nHeat (1995)\nRan\nRan\n")])
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[0, 2] = mask[0, 3] = True
    values = policy.logprobs(ids, mask)
    plain = policy.model(ids).logits[0].log_softmax(dim=-1)
    assert values[0, 2].item() == pytest.approx(plain[1, ids[0, 2]].item(), abs=1e-5)
    assert values[0, 3].item() == pytest.approx(plain[2, ids[0, 3]].item(), abs=1e-5)
    assert torch.equal(values != 0, mask)


def test_padding_on_the_right_changes_no_logprob(policy: LocalPolicy) -> None:
    tokens = policy.encode("User:\nHeat (1995)\nRan\n")
    mask = torch.ones((1, len(tokens)), dtype=torch.bool)
    mask[0, 0] = False
    short = policy.logprobs(torch.tensor([tokens]), mask)
    padded = policy.logprobs(torch.tensor([[*tokens, 7, 7, 7]]), torch.nn.functional.pad(mask, (0, 3)))
    assert torch.allclose(padded[:, : len(tokens)], short, atol=1e-5)


def test_the_first_token_of_a_row_has_no_logprob(policy: LocalPolicy) -> None:
    with pytest.raises(ModelError, match="first token"):
        policy.logprobs(torch.tensor([[1, 2]]), torch.tensor([[True, True]]))


def test_packed_rows_have_the_logprobs_of_padded_ones_and_the_entropies_of_the_plain_model(policy: LocalPolicy) -> None:
    texts = ("User:\nHeat (1995)\nRan\n", "User:\nRan\n")
    rows = [torch.tensor(policy.encode(text)) for text in texts]
    asked = [torch.arange(len(row)) % 2 == 1 for row in rows]
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    logprobs, entropies = policy.logprobs_and_entropies(torch.cat(rows)[None], positions[None], torch.cat(asked)[None])
    alone = torch.cat([policy.logprobs(row[None], mask[None])[0][mask] for row, mask in zip(rows, asked, strict=True)])
    assert torch.allclose(logprobs, alone, atol=1e-5)
    plain = [policy.model(row[None]).logits[0].softmax(dim=-1) for row in rows]
    expected = torch.cat([-(p * p.log()).sum(dim=-1)[:-1][mask[1:]] for p, mask in zip(plain, asked, strict=True)])
    assert torch.allclose(entropies, expected, atol=1e-4)
    assert logprobs.requires_grad
    assert not entropies.requires_grad


def test_the_first_token_of_a_packed_document_has_no_logprob(policy: LocalPolicy) -> None:
    with pytest.raises(ModelError, match="first token"):
        policy.logprobs_and_entropies(torch.tensor([[1, 2, 1, 2]]), torch.tensor([[0, 1, 0, 1]]), torch.tensor([[False, True, True, True]]))


def test_gradients_through_chunks_are_those_of_the_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    policy = LocalPolicy(tiny(tokenizer, width=64, layers=2, context=64, seed=0), tokenizer)
    hidden = torch.randn(9, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.arange(9)
    policy.chunked_logprobs(hidden, targets, chunk=4).sum().backward()
    pieces = hidden.grad
    whole = hidden.detach().clone().requires_grad_()
    policy.model.lm_head(whole).log_softmax(dim=-1).gather(1, targets[:, None]).sum().backward()
    assert pieces is not None
    assert whole.grad is not None
    assert torch.allclose(pieces, whole.grad, atol=1e-5)


def test_low_rank_adapters_start_as_nothing_and_survive_saving(policy: LocalPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path / "base")
    adapted = LocalPolicy.load(str(tmp_path / "base"), lora=4)
    trained = [name for name, weight in adapted.model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    ids = torch.tensor([policy.encode("User:\nHeat (1995)\n")])
    with torch.no_grad():
        assert torch.allclose(adapted.hidden(ids), policy.hidden(ids), atol=1e-6)
        for name, weight in adapted.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.02)
    adapted.save(tmp_path / "adapted")
    again = LocalPolicy.load(tmp_path / "adapted")
    replies = [one.converse(["Ran\n"], temperature=0.0, seeds=[0]).reply([0], [], [6])[0].logprobs for one in (adapted, again, policy)]
    assert replies[0] == pytest.approx(replies[1], abs=1e-6)
    assert replies[0] != pytest.approx(replies[2], abs=1e-6)


def test_architectures_that_the_engine_does_not_know_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    other = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    )
    with pytest.raises(ModelError, match="'gpt2' are not supported; known are llama"):
        LocalPolicy(other, tokenizer)


def test_a_tokenizer_larger_than_the_model_is_refused(policy: LocalPolicy, tokenizer: PreTrainedTokenizerFast) -> None:
    more = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>")
    more.add_tokens(["<one too many>"])
    with pytest.raises(ModelError, match="do not belong together"):
        LocalPolicy(policy.model, more)


def test_bfloat16_sampling_is_bfloat16_judging(tokenizer: PreTrainedTokenizerFast) -> None:
    policy = LocalPolicy(tiny(tokenizer, width=64, layers=2, context=64, seed=0), tokenizer, precision="bfloat16")
    talk = policy.converse(["Ran\n"], temperature=1.0, seeds=[3])
    (reply,) = talk.reply([0], [], [8])
    ids = torch.tensor([talk.tokens(0)])
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[0, -len(reply.tokens) :] = True
    with torch.no_grad():
        judged = policy.logprobs(ids, mask)[mask]
    # Eight bits of mantissa: attention sums in another order, so the two agree to the precision of bfloat16, not of float32.
    assert judged.tolist() == pytest.approx(reply.logprobs, abs=0.05)


def test_a_heated_policy_is_that_of_divided_logits(policy: LocalPolicy) -> None:
    ids = torch.randint(0, policy.vocabulary, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 0] = False
    with torch.no_grad():
        plain = policy.model(input_ids=ids).logits[:, :-1]
        before = policy.logprobs(ids, mask)
        with policy.decoder.heated(0.5):
            heated = policy.logprobs(ids, mask)[:, 1:]
            talk = policy.converse(["Ran\n"], temperature=1.0, seeds=[3])
            (reply,) = talk.reply([0], [], [8])
            tokens = torch.tensor([talk.tokens(0)])
            drawn = torch.zeros_like(tokens, dtype=torch.bool)
            drawn[0, -len(reply.tokens) :] = True
            assert policy.logprobs(tokens, drawn)[drawn].tolist() == pytest.approx(reply.logprobs, abs=1e-4)
    torch.testing.assert_close(heated, (2 * plain).log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0], rtol=0, atol=1e-4)
    assert torch.equal(policy.logprobs(ids, mask), before), "afterwards the policy is itself again"
    (hot,) = policy.converse(["Ran\n"], temperature=0.5, seeds=[3]).reply([0], [], [8])
    assert hot.tokens == reply.tokens, "a heated draw is the same draw, judged otherwise"


@pytest.mark.parametrize("parameters", [2.4e6, 3e6, 6e6, 10e6, 15e6, 30e6, 60e6, 120e6])
def test_the_dial_gives_about_as_many_weights_as_it_says(parameters: float) -> None:
    width, layers = shape_of(parameters, 8192)
    heads = width // (32 if width <= 384 else 64)
    assert heads * (32 if width <= 384 else 64) == width
    from fathom.language.builtin import _layer_size

    assert 8192 * width + layers * _layer_size(width) == pytest.approx(parameters, rel=0.09)


def test_a_built_model_has_the_size_it_was_asked_for(tokenizer: PreTrainedTokenizerFast) -> None:
    policy = build(BuiltinSettings(parameters=3e6), tokenizer, seed=0)
    assert policy.model.num_parameters() == pytest.approx(3e6, rel=0.09)
    assert policy.context == 1024


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (tiny(tokenizer, width=32, layers=1, context=16, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_title_tokens_start_where_the_text_encoder_puts_their_titles(tokenizer: PreTrainedTokenizerFast) -> None:
    policy = LocalPolicy(tiny(tokenizer, width=64, layers=1, context=16, seed=0), tokenizer)
    titles = ("Heat (1995)", "Alien (1979)", "Toy Story (1995)", "The Matrix")
    ids = [policy.encode(title + "\n") for title in titles]
    assert [len(tokens) for tokens in ids] == [1, 1, 1, 1]
    untouched = policy.encode("<think>")[0]
    before = policy.embeddings.detach().clone()
    near = np.asarray([[1, 0, 0.1], [1, 0, -0.1], [-1, 0.3, 0], [-1, -0.3, 0]], dtype=np.float32)
    start_titles(policy, titles, near, seed=1)
    rows = policy.embeddings.detach()[[tokens[0] for tokens in ids]]
    cosines = torch.nn.functional.cosine_similarity(rows[:1], rows[1:])
    assert cosines[0] > 0.9
    assert cosines[1:].max() < -0.9
    assert rows.norm(dim=1).tolist() == pytest.approx([0.02 * 8] * 4, rel=1e-4), "the norm of a random row of width 64"
    assert torch.equal(policy.embeddings[untouched], before[untouched])


def test_title_vectors_without_vectors_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="pass `titles` and `vectors`"):
        build(BuiltinSettings(parameters=3e6, title_vectors=True), tokenizer, seed=0)

"""The language model over HTTP, asked by OpenAI's own client: the same words as at home, whatever arrives beside it; errors it knows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import torch
from listening import served
from outside import save_tiny_qwen2
from typer.testing import CliRunner
from worlds import film_catalog

from fathom.cli.lend import app
from fathom.errors import ConfigError, ModelError
from fathom.language.encoding import text_encoder
from fathom.language.policy import LocalPolicy
from fathom.language.remote import RemotePolicy
from fathom.language.remote_settings import RemoteSettings
from fathom.serving.language import Message, chat_text

CATALOG = film_catalog(20)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> LocalPolicy:
    return LocalPolicy.load(save_tiny_qwen2(tmp_path_factory.mktemp("model") / "tiny", CATALOG))


@pytest.fixture(scope="module")
def url(policy: LocalPolicy) -> Iterator[str]:
    with served(policy) as address:
        yield address


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def at_home(policy: LocalPolicy, prompt: str, limit: int, *, temperature: float = 0.0, seed: int = 0, stops: tuple[str, ...] = ()) -> str:
    conversation = policy.converse([prompt], temperature=temperature, seeds=[seed])
    return conversation.reply([0], stops, [limit])[0].text


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_completion_is_what_the_model_writes_at_home(url: str, policy: LocalPolicy, temperature: float) -> None:
    said = client(url).completions.create(model="fathom", prompt="Emma and", max_tokens=9, temperature=temperature, seed=4)
    assert said.choices[0].text == at_home(policy, "Emma and", 9, temperature=temperature, seed=4)
    assert said.choices[0].finish_reason == "length"
    assert said.usage is not None
    read = len(policy.encode("Emma and"))
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (read, 9, read + 9)


def test_a_chat_reads_its_messages_one_below_the_other(url: str, policy: LocalPolicy) -> None:
    said = client(url).chat.completions.create(
        model="fathom",
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Emma?\n"}],
        max_tokens=7,
        temperature=0,
    )
    assert said.choices[0].message.content == at_home(policy, "Be kind.\nEmma?\n", 7)


def test_a_model_s_own_chat_template_is_used(policy: LocalPolicy) -> None:
    policy.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<me>{% endif %}"
    )
    try:
        assert chat_text(policy, [Message(role="user", content="Hi")]) == "<user>Hi<me>"
    finally:
        policy.tokenizer.chat_template = None


def test_a_reply_ends_before_its_stop_string(url: str, policy: LocalPolicy) -> None:
    whole = at_home(policy, "Doom", 20)
    stop = whole[2:4]
    assert stop.isascii()
    said = client(url).completions.create(model="fathom", prompt="Doom", max_tokens=20, temperature=0, stop=[stop])
    assert said.choices[0].text == whole[: whole.index(stop)]
    assert said.choices[0].finish_reason == "stop"


def test_a_stream_says_the_same(url: str, policy: LocalPolicy) -> None:
    stream = client(url).chat.completions.create(
        model="fathom",
        messages=[{"role": "user", "content": "Heat"}],
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == at_home(policy, "Heat\n", 8)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


@pytest.mark.parametrize("kind", ["completions", "chat"])
def test_fathom_s_own_remote_policy_speaks_with_it(url: str, policy: LocalPolicy, kind: str) -> None:
    remote = RemotePolicy(RemoteSettings.model_validate({"base_url": url, "model": "fathom", "kind": kind}))
    conversation = remote.converse(["Emma\n", "Doom\n"], temperature=0.0, seeds=[1, 2])
    said = conversation.reply([0, 1], (), [6, 6])
    assert [reply.text for reply in said] == [at_home(policy, prompt, 6) for prompt in ("Emma\n", "Doom\n")]
    assert remote.paid.tokens == sum(len(policy.encode(prompt)) + 6 for prompt in ("Emma\n", "Doom\n"))


def test_who_asks_at_the_same_time_changes_nothing(url: str, policy: LocalPolicy) -> None:
    asked = client(url)

    def ask(place: int) -> str:
        said = asked.completions.create(
            model="fathom",
            prompt=f"Film {place} and",
            max_tokens=4 + place % 5,
            temperature=place % 2,
            seed=place,
            stop=["\n"] if place % 3 else None,
        )
        return said.choices[0].text

    with ThreadPoolExecutor(12) as pool:
        texts = list(pool.map(ask, range(24)))
    for place, text in enumerate(texts):
        stops = ("\n",) if place % 3 else ()
        alone = at_home(policy, f"Film {place} and", 4 + place % 5, temperature=place % 2, seed=place, stops=stops)
        assert text == (alone.removesuffix("\n") if stops else alone)


def test_what_cannot_be_answered_is_told_in_the_way_that_clients_know(url: str, policy: LocalPolicy) -> None:
    asked = client(url)
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt' here: ask for 'fathom'"):
        asked.completions.create(model="gpt", prompt="a")
    with pytest.raises(openai.BadRequestError, match=r"the prompt has \d+ tokens, and this model's context is 4096"):
        asked.completions.create(model="fathom", prompt="word " * 5000)
    with pytest.raises(openai.BadRequestError, match="max_tokens: Input should be greater than or equal to 1"):
        asked.completions.create(model="fathom", prompt="a", max_tokens=0)
    with pytest.raises(openai.BadRequestError, match="messages: List should have at least 1 item"):
        asked.chat.completions.create(model="fathom", messages=[])
    with pytest.raises(openai.BadRequestError, match="n: Input should be 1"):
        asked.completions.create(model="fathom", prompt="a", n=2)
    assert [model.id for model in asked.models.list()] == ["fathom"]
    assert httpx.get(url.replace("/v1", "/healthz")).json() == {"status": "ok", "model": "fathom", "context": policy.context}


def test_who_has_a_key_asks_for_it(policy: LocalPolicy) -> None:
    with served(policy, name="mine", key="s3cret") as url:
        assert client(url, "s3cret").completions.create(model="mine", prompt="a", max_tokens=1).choices
        with pytest.raises(openai.AuthenticationError, match="the key is missing or not the server's"):
            client(url, "other").completions.create(model="mine", prompt="a", max_tokens=1)
        with pytest.raises(openai.AuthenticationError):
            client(url, "other").models.list()


def test_the_command_says_what_it_cannot_serve() -> None:
    told = CliRunner().invoke(app, ["llm", "./nowhere"])
    assert isinstance(told.exception, ModelError)
    assert "nowhere: there is no such folder" in str(told.exception)
    told = CliRunner().invoke(app, ["llm", "./nowhere", "--key-variable", "FATHOM_NO_SUCH_KEY"])
    assert isinstance(told.exception, ConfigError)
    assert "--key-variable FATHOM_NO_SUCH_KEY: there is no such environment variable" in str(told.exception)


def test_embeddings_are_the_means_of_hidden_states_here_and_there(url: str, policy: LocalPolicy, tmp_path: Path) -> None:
    texts = ["Emma", "Doom Eternal and more", "", "Heat"]
    policy.save(tmp_path / "lm")
    here, there = text_encoder(f"lm:{tmp_path / 'lm'}"), text_encoder(f"{url}#fathom")
    mine = here.encode(texts)
    assert mine.shape == (4, here.width) == (4, there.width)
    assert np.linalg.norm(mine, axis=1) == pytest.approx([1, 1, 0, 1], abs=1e-5)
    assert np.abs(there.encode(texts) - mine).max() < 1e-5
    assert np.abs(here.encode(texts[1:2]) - mine[1:2]).max() < 1e-5, "batch mates and padding change nothing"
    states = policy.hidden(torch.tensor([policy.encode("Emma")]))[0].mean(dim=0)
    assert torch.allclose(torch.from_numpy(mine[0]), states / states.norm(), atol=1e-5)
    assert here.name.startswith("lm-mean@")
    assert there.name == f"{url}#fathom"


def test_encoders_that_cannot_be_are_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"encoder 'lm:\./nowhere': there is no such folder"):
        text_encoder("lm:./nowhere")
    with pytest.raises(ConfigError, match="write the address, '#', and the endpoint's name of the model"):
        text_encoder(url)
    with pytest.raises(ModelError, match="it has no model 'gpt', or base_url lacks a part such as /v1"):
        text_encoder(f"{url}#gpt").encode(["a"])
    with pytest.raises(ConfigError, match="unknown text encoder 'minilmm'"):
        text_encoder("minilmm")

"""The `Policy` seam while a vLLM server samples, as reinforcement learning of large models wants it: TRL keeps the server's weights ours.

Tokens stay ours: whole rows go out as ids, sampled ids and their log-probabilities come back, so nothing is ever encoded again. The server
keeps the keys and values of what it has read (its prefix cache), so earlier turns cost it next to nothing.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fathom.contracts import Over
from fathom.errors import ConfigError, MissingExtraError, ModelError
from fathom.language.drafts import Draft
from fathom.language.policy import LocalPolicy
from fathom.language.sampled import SampledElsewhere
from fathom.records import Reply

try:
    import openai
except ModuleNotFoundError as error:
    raise MissingExtraError("openai", "llm") from error

PARALLEL = 128
"""Requests under way at the same time: the server forms its own batches of them."""

SERVE = 'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' --logprobs-mode processed_logprobs'
"""How a server is started that TRL can bring up to date and whose log-probabilities are those it sampled with."""

NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""A server would otherwise take these from the model's `generation_config.json`, and sample from another distribution than the policy's."""


class VllmPolicy:
    """Samples what `policy` would sample, heated as it is, on the server at `address`; ids and words are those of `policy`.

    A server that does not answer is a `ModelError` at once.
    """

    def __init__(self, policy: LocalPolicy, address: str, *, timeout: float = 600.0, retries: int = 4) -> None:
        self._policy = policy
        self._address = address.rstrip("/")
        self._client = openai.OpenAI(base_url=f"{self._address}/v1", api_key="none", timeout=timeout, max_retries=retries)
        try:
            self._model = next(iter(self._client.models.list().data)).id
        except (openai.APIError, StopIteration) as error:
            raise ModelError(f"no vLLM server answers at {self._address} ({error}); start it with  {SERVE}") from error

    @property
    def at_once(self) -> int:
        """As many conversations as may ask side by side."""
        return PARALLEL

    @property
    def context(self) -> int:
        """How many tokens a row may have at most."""
        return self._policy.context

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, no special tokens added."""
        return self._policy.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, nothing skipped or cleaned up."""
        return self._policy.decode(tokens)

    def converse(self, prompts: Sequence[str], *, temperature: float, seeds: Sequence[int]) -> "VllmConversation":
        """One conversation per prompt. Whether row i follows from `seeds[i]` alone is up to the server."""
        if temperature != 1:
            raise ConfigError(
                f"temperature is {temperature}: a vLLM server plays what is learned from, which the policy's own heat decides"
            )
        return VllmConversation(self, [self.encode(prompt) for prompt in prompts], seeds=seeds)

    def draft(self, tokens: Sequence[int], stops: Sequence[str], *, limit: int, seed: int) -> Draft:
        """What the server writes behind `tokens`: at most `limit` tokens, up to and with the first of `stops` or the end of the text."""
        draft, table, ends = Draft(limit), self._policy.table, self._policy.ends
        ends_with = [stop.encode("utf-8") for stop in stops]
        for token, logprob in self._sampled(tokens, stops, limit=limit, seed=seed):
            if not draft.write(token, logprob, table=table, stops=ends_with, ends=ends):
                break
        return draft

    def _sampled(self, tokens: Sequence[int], stops: Sequence[str], *, limit: int, seed: int) -> list[tuple[int, float]]:
        """Ids and log-probabilities as the server sampled them; the last one may spill past a stop string."""
        try:
            answer = self._client.completions.create(
                model=self._model,
                prompt=list(tokens),
                max_tokens=limit,
                temperature=self._policy.decoder.temperature,
                top_p=1.0,
                seed=seed,
                stop=list(stops),
                logprobs=0,
                extra_body={
                    **NEUTRAL,
                    "stop_token_ids": sorted(self._policy.ends),
                    "include_stop_str_in_output": True,
                    "skip_special_tokens": False,
                    "return_token_ids": True,
                },
            )
        except openai.APIError as error:
            raise ModelError(f"the vLLM server at {self._address} does not answer: {error}; start it with  {SERVE}") from error
        choice = answer.choices[0]
        ids = (choice.model_extra or {}).get("token_ids")
        logprobs = None if choice.logprobs is None else choice.logprobs.token_logprobs
        if not isinstance(ids, list) or logprobs is None or len(ids) != len(logprobs):
            raise ModelError(f"the server at {self._address} returns no token ids with log-probabilities: it must be vLLM 0.22 or newer")
        return [(int(token), float(logprob or 0.0)) for token, logprob in zip(ids, logprobs, strict=True)]


class VllmConversation(SampledElsewhere):
    """Keeps the `Conversation` seam over rows of token ids, but for what needs logits."""

    sampler = "a vLLM server"

    def __init__(self, policy: VllmPolicy, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int]) -> None:
        self._policy = policy
        self._rows = [list(prompt) for prompt in prompts]
        self._seeds = seeds

    def reply(
        self,
        rows: Sequence[int],
        stops: Sequence[str],
        limits: Sequence[int],
        over: Over | None = None,
        barred: Sequence[str] = (),
    ) -> list[Reply]:
        """Let the server write on each of `rows`, several at a time; it cannot be stopped on the way."""
        self.refuse_watching(over, barred)

        def ask(row: int, limit: int) -> Reply:
            tokens = self._rows[row]
            room = min(limit, self._policy.context - len(tokens))
            seed = (self._seeds[row] + len(tokens)) % 2**31  # another one each turn: a request draws its numbers from their beginning
            return self._policy.draft(tokens, stops, limit=room, seed=seed).reply() if room > 0 else Reply("")

        with ThreadPoolExecutor(PARALLEL) as pool:
            replies = list(pool.map(ask, rows, limits))
        for row, reply in zip(rows, replies, strict=True):
            self._rows[row] += reply.tokens
        return replies

    def extend(self, rows: Sequence[int], texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Append the environment's text to each of `rows`; returns the ids that were appended."""
        added = [self._policy.encode(text) for text in texts]
        for row, tokens in zip(rows, added, strict=True):
            self._rows[row] += tokens
        return added

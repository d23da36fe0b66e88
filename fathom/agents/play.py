"""Plays many conversations at once: one reply call and one retrieval call a turn, for all that still go on.

Token in, token out: a row's tape is the encoded prompt, then the ids that the policy sampled and the ids that it says
it appended. Nothing that was written is ever decoded and encoded again.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np

from fathom.agents.dialogue import LINE_END, Dialogue, is_lost
from fathom.agents.protocol import ANSWER_CLOSE, ANSWER_OPEN, BEGIN_PREF, END_PREF, THINK_CLOSE, ProtocolSettings, answer_numbers
from fathom.agents.remote_retrieval import RetrievalError
from fathom.contracts import Conversation, Policy, Tool
from fathom.data.titles import TitleIndex
from fathom.errors import ModelError
from fathom.records import Call, Case, Catalog, Choice, Ending, Episode, Reply, Tape, Turn, Written

Finish: TypeAlias = Literal["written", "scored", "both"]
"""How an episode gets its list: the model writes it; or everything retrieved is ordered by the model's likelihood of
each title at the first place of the list, and the episode ends there; or it is scored and then written as well."""


SPENT = (BEGIN_PREF, END_PREF, ANSWER_OPEN)
"""What a constrained model may not write when its calls are spent: it ends its line, and then its answer is opened for it."""


class Listener(Protocol):
    """Follows conversations while they are played."""

    def turn(self, place: int, turn: Turn) -> None:
        """Case `place` has got its answer from the retriever."""
        ...

    def gone(self, place: int) -> bool:
        """Whether nobody waits for case `place` any more: it is left as it is."""
        ...


@dataclass(slots=True)
class _Row:
    """A conversation on its way: the environment, the tape, and what was written beyond what the environment knows."""

    dialogue: Dialogue
    tokens: list[int]
    sampled: list[bool]
    logprobs: list[float]
    prompt: int
    has_tokens: bool = True
    pending: Reply = field(default_factory=lambda: Reply(""))
    """Words that stopped at the opening answer tag; the environment hears them together with what follows."""
    scored: tuple[int, ...] | None = None
    weights: dict[int, float] = field(default_factory=dict)
    """What the retriever itself says for each item that it has shown, in nats (`Tool.weigh`)."""
    choices: dict[int, Choice] = field(default_factory=dict)
    fork: int | None = None
    seconds: float = 0.0

    @property
    def limit(self) -> int:
        """How many tokens the model may write now."""
        return max(0, self.dialogue.room - len(self.pending.tokens))

    def write(self, tokens: Sequence[int], logprobs: Sequence[float] | None = None) -> None:
        """Add tokens to the tape; with log-probabilities they are the model's own."""
        self.tokens.extend(tokens)
        self.sampled.extend([logprobs is not None] * len(tokens))
        self.logprobs.extend([0.0] * len(tokens) if logprobs is None else logprobs)

    def take(self, reply: Reply) -> Reply:
        """Put the model's reply on the tape; returns it together with what was pending."""
        if len(reply.tokens) != len(reply.logprobs):
            raise ModelError(
                f"the policy returned {len(reply.tokens)} tokens but {len(reply.logprobs)} log-probabilities: one for each is needed"
            )
        self.has_tokens &= bool(reply.tokens) or not reply.text
        sampled = len(reply.tokens) - reply.spill
        if reply.barred:
            self.choices |= dict.fromkeys(range(len(self.tokens), len(self.tokens) + sampled), Choice(None, reply.barred))
        self.write(reply.tokens[:sampled], reply.logprobs[:sampled])
        self.write(reply.tokens[sampled:])  # in the place of a token that spilled past a stop string: nobody sampled these
        return self._whole(reply)

    def take_list(self, written: Written) -> Reply:
        """Put a list on the tape that the model wrote under constraint; returns it together with the words before it."""
        chosen = iter(written.choices)
        self.fork = None if written.fork is None else len(self.tokens) + written.fork
        for token, own, logprob in zip(written.tokens, written.sampled, written.logprobs, strict=True):
            if own:
                self.choices[len(self.tokens)] = next(chosen)
            self.write([token], [logprob] if own else None)
        return self._whole(Reply(written.text, written.tokens, written.logprobs, ANSWER_CLOSE if written.whole else None))

    def _whole(self, reply: Reply) -> Reply:
        before, self.pending = self.pending, Reply("")
        return Reply(before.text + reply.text, before.tokens + reply.tokens, before.logprobs + reply.logprobs, reply.stop)

    def episode(self) -> Episode:
        """The finished episode; without a tape where the policy gave no token ids."""
        tape = None
        if self.has_tokens:
            tape = Tape(tuple(self.tokens), tuple(self.sampled), tuple(self.logprobs), self.prompt, self.choices, self.fork)
        return self.dialogue.episode(tape=tape, scored=self.scored or (), seconds=self.seconds)


def play(
    policy: Policy,
    retrieve: Tool,
    cases: Sequence[Case],
    catalog: Catalog,
    settings: ProtocolSettings,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 0,
    finish: Finish = "written",
    titles: TitleIndex | None = None,
    progress: Callable[[int], None] | None = None,
    listener: Listener | None = None,
) -> list[Episode]:
    """One finished episode per case, in the order of the cases; the same for every `batch_size` (0: what suits the policy).

    `temperature` 0 is greedy; otherwise case i samples with a seed made from `seed` and i. `titles` may be handed in
    where the same catalogue is played again and again. `progress` is told how many more episodes are finished.
    `Episode.seconds` is an episode's share of the wall clock: each turn's time is divided among the rows that took
    part. A `RetrievalError` ends the episodes of that call as `RETRIEVAL_FAILED`; any other exception is a bug and is
    not caught.
    """
    titles = titles or TitleIndex(catalog)
    episodes: list[Episode] = []
    batch_size = batch_size or policy.at_once
    for start in range(0, len(cases), batch_size):
        chunk = cases[start : start + batch_size]
        rows = [_opened(policy, case, catalog, titles, settings=settings) for case in chunk]
        seeds = [row_seed(seed, start + place) for place in range(len(chunk))]
        conversation = policy.converse([row.dialogue.opening for row in rows], temperature=temperature, seeds=seeds)
        live, heard = list(range(len(rows))), Counter[int]()
        while live:
            began = time.perf_counter()
            _turn(policy, conversation, retrieve, {place: rows[place] for place in live}, catalog=catalog, settings=settings, finish=finish)
            share = (time.perf_counter() - began) / len(live)
            for place in live:
                rows[place].seconds += share
            if listener is not None:
                _tell(listener, {start + place: rows[place].dialogue for place in live}, heard)
            still = [place for place in live if rows[place].dialogue.ending is None]
            if progress is not None and len(still) < len(live):
                progress(len(live) - len(still))
            live = still
        episodes += [row.episode() for row in rows]
    return episodes


def _tell(listener: Listener, dialogues: Mapping[int, Dialogue], heard: Counter[int]) -> None:
    """Tell of the turns beyond those that were `heard` of each case, and leave the conversations that nobody waits for."""
    for place, dialogue in dialogues.items():
        for turn in dialogue.turns[heard[place] :]:
            listener.turn(place, turn)
        heard[place] = len(dialogue.turns)
        if dialogue.ending is None and listener.gone(place):
            dialogue.fail(Ending.ABANDONED)


def row_seed(seed: int, index: int) -> int:
    """The seed of case `index` in a play with `seed`: 63 bits that do not depend on how cases are batched."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _opened(policy: Policy, case: Case, catalog: Catalog, titles: TitleIndex, *, settings: ProtocolSettings) -> _Row:
    dialogue = Dialogue(case, catalog, titles, settings, count=lambda text: len(policy.encode(text)))
    prompt = policy.encode(dialogue.opening)
    row = _Row(dialogue, tokens=[], sampled=[], logprobs=[], prompt=len(prompt))
    row.write(prompt)
    return row


def _turn(
    policy: Policy,
    conversation: Conversation,
    retrieve: Tool,
    rows: dict[int, _Row],
    *,
    catalog: Catalog,
    settings: ProtocolSettings,
    finish: Finish,
) -> None:
    """Every row writes once; calls are answered together; lists that were opened are scored together."""
    stops = (*Dialogue.stops, ANSWER_OPEN) if finish != "written" or settings.constrained else Dialogue.stops
    opened = _conclude(conversation, {place: row for place, row in rows.items() if settings.constrained and row.dialogue.spent})
    going = {place: row for place, row in rows.items() if place not in opened and row.dialogue.ending is None}
    writing = [place for place, row in going.items() if row.limit > 0]
    over = is_lost if settings.constrained else None
    written = conversation.reply(writing, stops, [rows[place].limit for place in writing], over) if writing else []
    replies = dict(zip(writing, written, strict=True))
    calls: dict[int, Call] = {}
    for place, row in going.items():
        reply = row.take(replies.get(place, Reply("")))
        if over is not None and reply.stop is None and over(reply.text):
            reply = _closed(conversation, place, row, reply)
        if reply.stop == ANSWER_OPEN and (row.scored is None or settings.constrained):
            opened[place] = reply
        elif reply.stop == ANSWER_OPEN:  # the tag a second time: a format fault, found by the checks at the end
            row.pending = reply
        elif (call := row.dialogue.hear(reply)) is not None:
            calls[place] = call
    _answer_calls(conversation, retrieve, rows, calls, settings=settings)
    if settings.reminded:
        opened = _remind(conversation, rows, opened)
    if finish != "written":
        _score(
            policy,
            conversation,
            {place: row for place, row in rows.items() if place in opened or row.dialogue.ending},
            catalog=catalog,
            settings=settings,
        )
    for place, reply in opened.items():
        if finish == "scored":
            text = rows[place].dialogue.complete(reply, (rows[place].scored or ())[: settings.answer_length])
            rows[place].fork = len(rows[place].tokens)
            rows[place].write(policy.encode(text))
        else:
            rows[place].pending = reply
    if finish != "scored" and settings.constrained:
        _write_lists(conversation, {place: rows[place] for place in opened}, catalog=catalog, settings=settings)


def _conclude(conversation: Conversation, rows: dict[int, _Row]) -> dict[int, Reply]:
    """Let rows whose calls are spent end their line and open their answer for them; the rows that go on, of which the environment has
    heard everything. A small model cannot count its calls: it would ask once more, and its whole conversation would be void."""
    if not rows:
        return {}
    written = conversation.reply(list(rows), [LINE_END], [row.limit for row in rows.values()], barred=SPENT)
    texts = {place: row.dialogue.conclude(row.take(reply)) for (place, row), reply in zip(rows.items(), written, strict=True)}
    return dict.fromkeys(_insert(conversation, rows, texts), Reply(""))


def _closed(conversation: Conversation, place: int, row: _Row, reply: Reply) -> Reply:
    """End a preference that repeats itself or does not end: greedily, a small model may go on until it runs out of room."""
    [ending] = conversation.extend([place], [END_PREF])
    row.write(ending)
    return Reply(reply.text + END_PREF, reply.tokens + ending, reply.logprobs + (0.0,) * len(ending), END_PREF)


def _write_lists(conversation: Conversation, rows: dict[int, _Row], *, catalog: Catalog, settings: ProtocolSettings) -> None:
    """Every row that opened its answer writes it, under constraint, and is over."""
    places = list(rows)
    lists = conversation.write_list(
        places,
        catalog.titles,
        numbers=answer_numbers(settings),
        closing=ANSWER_CLOSE,
        forbidden=[row.dialogue.hidden for row in rows.values()],
        limits=[row.limit for row in rows.values()],
        favour=[_favour(row.weights, settings.listed) for row in rows.values()],
        forked=settings.answer == "plackett_luce",
    )
    for place, written in zip(places, lists, strict=True):
        rows[place].dialogue.hear(rows[place].take_list(written))


def _answer_calls(
    conversation: Conversation, retrieve: Tool, rows: dict[int, _Row], calls: dict[int, Call], *, settings: ProtocolSettings
) -> None:
    """Ask the retriever once for all calls and let every row read its list."""
    if not calls:
        return
    try:
        answers = retrieve.retrieve(list(calls.values()))
        weights = retrieve.weigh([call.history for call in calls.values()], answers) if settings.listed else None
    except RetrievalError:
        for place in calls:
            rows[place].dialogue.fail(Ending.RETRIEVAL_FAILED)
        return
    if weights is not None:
        for place, items, values in zip(calls, answers, weights, strict=True):
            rows[place].weights |= dict(zip(items, values.tolist(), strict=True))
    shown = {place: rows[place].dialogue.show(items) for place, items in zip(calls, answers, strict=True)}
    _insert(conversation, rows, shown)


def _remind(conversation: Conversation, rows: dict[int, _Row], opened: dict[int, Reply]) -> dict[int, Reply]:
    """Put the reminder behind each opening tag; the rows that go on, of which the environment has heard everything."""
    reminders = {place: rows[place].dialogue.remind(reply) for place, reply in opened.items()}
    return dict.fromkeys(_insert(conversation, rows, reminders), Reply(""))


def _insert(conversation: Conversation, rows: dict[int, _Row], texts: dict[int, str | None]) -> list[int]:
    """Let rows read what the environment appends; returns those that do. None: the row is over."""
    read = {place: text for place, text in texts.items() if text is not None}
    for place, tokens in zip(read, conversation.extend(list(read), list(read.values())), strict=True):
        rows[place].write(tokens)
    return list(read)


def _score(policy: Policy, conversation: Conversation, rows: dict[int, _Row], *, catalog: Catalog, settings: ProtocolSettings) -> None:
    """Order everything each row has retrieved by the likelihood of its title as the first line of the list.

    With `settings.listed` the likelihood is multiplied by that power of the probability that the retriever itself gives the title:
    it knows what the model does not. A row that ended without opening a list is asked as if it had closed its thinking there, so
    that the scored finish has an answer wherever anything was retrieved and the context still has room. Likelihoods are sums over
    a whole line including its line break, hence comparable between titles of any length; ties go to what was retrieved first.
    """
    asked: dict[int, tuple[str, ...]] = {}
    for place, row in rows.items():
        if row.scored is not None:
            continue
        row.scored = ()
        lead = answer_numbers(settings)[0]
        if row.dialogue.ending is not None:
            lead = f"\n{THINK_CLOSE}\n{ANSWER_OPEN}{row.dialogue.reminder}{lead}"
        lines = tuple(f"{lead}{catalog.title(item)}\n" for item in row.dialogue.retrieved)
        if lines and len(row.tokens) + len(policy.encode(max(lines, key=len))) <= row.dialogue.most_tokens:
            asked[place] = lines
    if not asked:
        return
    for place, likelihoods in zip(asked, conversation.score(list(asked), list(asked.values())), strict=True):
        row, retrieved = rows[place], rows[place].dialogue.retrieved
        scores = likelihoods + settings.listed * np.asarray([row.weights[item] for item in retrieved]) if settings.listed else likelihoods
        row.scored = tuple(retrieved[index] for index in np.argsort(-scores, kind="stable"))


def _favour(weights: Mapping[int, float], listed: float) -> dict[int, float]:
    """What the retriever adds to the log-likelihood of each item that it showed: nothing to the least of them, as to all others."""
    least = min(weights.values(), default=0.0)
    return {item: listed * (weight - least) for item, weight in weights.items()}

"""Many conversations at once: only new tokens are processed, finished rows leave the batch, tokens are never encoded twice.

Each row keeps its keys and values from the opening to the end. What is appended, whether sampled or handed in, waits until
somebody asks what comes next; then all of it goes through the model in one pass together with the other rows' news. Sampled
ids are final: the one exception is a token that spills past a stop string (see `Reply.spill`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fathom.contracts import Over
from fathom.errors import ConfigError, ModelError
from fathom.language.branches import ROOT, Branches
from fathom.language.decoder import Decoder, Step
from fathom.language.drafts import Draft, TitleDraft
from fathom.language.tokenizer import TokenTable
from fathom.language.trie import Pen
from fathom.records import PAD, Floats, Ints, Reply, Written

PIECE = 512
"""A row's news go through the model in pieces of at most so many tokens."""

CROWD = 8192
"""At most so many tokens, padding counted, are in one pass: bounds the memory of attention masks and activations."""

BLOCK = 256
"""Random numbers are drawn in blocks of so many positions."""


@dataclass(slots=True)
class Row:
    """One growing token sequence."""

    tokens: list[int]
    seed: int
    done: int = 0
    """How many of the tokens have their keys and values in the cache."""
    aside: int = 0
    """How many more were written that do not stand here: titles of a forked list."""
    _block: int = -1
    _uniforms: Floats | None = None

    def uniform(self) -> float:
        """The number in [0, 1) that decides the next token: a function of the row's seed and of how much was written alone."""
        block, offset = divmod(len(self.tokens) + self.aside, BLOCK)
        if self._uniforms is None or block != self._block:
            # Philox gives four numbers a count, so block b starts at count b * BLOCK / 4.
            philox = np.random.Philox(key=self.seed, counter=block * (BLOCK // 4))
            self._block, self._uniforms = block, np.random.Generator(philox).random(BLOCK).astype(np.float32)
        return float(self._uniforms[offset])


@dataclass(slots=True)
class Fork:
    """Where on its row every title of a list begins."""

    place: int
    """How many tokens stand on the row before it."""
    listed: int
    """How many of them are of the list."""
    hidden: Tensor | None = None
    """What the model makes of them; None: they were not read yet."""


class LocalConversation:
    """Keeps the `Conversation` seam over a `Decoder`; the same rows come out for any batch they are in, up to float rounding."""

    def __init__(
        self,
        decoder: Decoder,
        table: TokenTable,
        prompts: Sequence[Sequence[int]],
        *,
        temperature: float,
        seeds: Sequence[int],
        ends: frozenset[int],
        context: int,
    ) -> None:
        if not 0 <= temperature < float("inf"):
            raise ConfigError(f"temperature is {temperature}: write 0 for greedy replies or a positive number")
        for index, prompt in enumerate(prompts):
            if not 0 < len(prompt) <= context:
                raise ModelError(f"prompt {index} has {len(prompt)} tokens, but the model reads 1 to {context}: shorten its history")
        self._decoder = decoder
        self._table = table
        self._temperature = temperature
        self._ends = ends
        self._context = context
        self._rows = [Row(list(prompt), seed % 2**64) for prompt, seed in zip(prompts, seeds, strict=True)]
        self._cache = decoder.cache(len(self._rows))
        self._slot_of = list(range(len(self._rows)))
        self._hidden: Tensor | None = None

    def tokens(self, row: int) -> tuple[int, ...]:
        """Everything that stands on `row`: prompt, sampled ids, appended ids."""
        return tuple(self._rows[row].tokens)

    def reply(
        self,
        rows: Sequence[int],
        stops: Sequence[str],
        limits: Sequence[int],
        over: Over | None = None,
        barred: Sequence[str] = (),
    ) -> list[Reply]:
        """Let the model write on each of `rows` until a stop string, its end of text, `limits` tokens, the end of the context, or `over`.

        A row without room replies with nothing. An end-of-text token is among `tokens`, since it was sampled, and not in `text`.
        Of what is `barred` the texts that are one token are never written; longer ones cannot be kept out.
        """
        kept_out = self._single(barred)
        drafts = {row: Draft(limit, kept_out) for row, limit in zip(rows, limits, strict=True)}
        ends_with = [stop.encode("utf-8") for stop in stops]
        active = [row for row in rows if drafts[row].limit > 0 and len(self._rows[row].tokens) < self._context]
        with self._decoder.at_work():
            while active:
                logits = self._logits(active)
                if kept_out:
                    logits[:, kept_out] = -torch.inf
                ids, logprobs = self._choose(active, logits)
                active = [
                    row
                    for row, token, logprob in zip(active, ids, logprobs, strict=True)
                    if self._write(self._rows[row], drafts[row], token=token, logprob=logprob, stops=ends_with)
                    and not (over is not None and over(drafts[row].text.decode("utf-8", errors="replace")))
                ]
        return [drafts[row].reply() for row in rows]

    def write_list(
        self,
        rows: Sequence[int],
        titles: Sequence[str],
        *,
        numbers: Sequence[str],
        closing: str,
        forbidden: Sequence[Collection[int]],
        limits: Sequence[int],
        favour: Sequence[Mapping[int, float]] | None = None,
        forked: bool = False,
    ) -> list[Written]:
        """Let the model write on each of `rows` a list of as many titles as there are `numbers`, and then `closing`.

        Before each title stands its number, after the last one `closing`: the model chooses nothing but titles (`titles[i - 1]`, with
        a line break, is item i), each token among those that still lead to a title that is neither in the row's `forbidden` nor
        in a line above. `favour` says per row what speaks for some items beside the model (see `Pen`). At most `limits` tokens, and no
        more than the context has, are written.

        `forked`: every title is drawn where the first one is, as if none stood above it. So the titles are a sample without
        replacement from one distribution, and what stands between them is never read.
        """
        trie = self._table.trie(tuple(titles))
        leads, end = self._table.encode_many(numbers), self._table.encode(closing)
        lists = {
            row: TitleDraft(Pen(trie, items, favoured), min(limit, self._context - len(self._rows[row].tokens)))
            for row, items, limit, favoured in zip(rows, forbidden, limits, favour or [{}] * len(rows), strict=True)
        }
        active = [row for row in rows if self._lead(row, lists[row], leads, end)]
        forks = {row: Fork(len(self._rows[row].tokens), len(lists[row].tokens)) for row in active} if forked else {}
        with self._decoder.at_work():
            while active:
                offered = [(row, choice) for row in active if (choice := lists[row].pen.choice()) is not None]
                active = [row for row, _ in offered]
                if not active:
                    break
                logits = self._logits(active)
                for row in active:
                    if row in forks and forks[row].hidden is None:
                        assert self._hidden is not None
                        forks[row].hidden = self._hidden[row].clone()
                added = torch.from_numpy(trie.added([choice for _, choice in offered], logits.shape[1])).to(logits.device)
                ids, logprobs = self._choose(active, logits + added)
                for (row, choice), token, logprob in zip(offered, ids, logprobs, strict=True):
                    self._rows[row].tokens.append(token)
                    lists[row].write([token], logprob)
                    lists[row].choices.append(choice)
                    if lists[row].pen.write(token) != PAD:
                        lists[row].lines += 1
                        if row in forks:
                            self._return(row, forks[row])
                    elif len(lists[row].tokens) < lists[row].limit:
                        continue
                    if lists[row].pen.inside or not self._lead(row, lists[row], leads, end, read=not forked):
                        active.remove(row)
        for row, fork in forks.items():
            self._return(row, fork)
            lists[row].fork, self._rows[row].aside = fork.listed, 0
            self._rows[row].tokens += lists[row].tokens[fork.listed :]
        return [lists[row].written(self._table) for row in rows]

    def _return(self, row: int, fork: Fork) -> None:
        """Put `row` back where all its titles begin; what was written since then no longer stands on it."""
        one = self._rows[row]
        one.aside += len(one.tokens) - fork.place
        del one.tokens[fork.place :]
        if one.done > fork.place:
            assert self._hidden is not None
            assert fork.hidden is not None
            one.done, self._hidden[row] = fork.place, fork.hidden

    def _lead(self, row: int, one: TitleDraft, leads: Sequence[tuple[int, ...]], end: tuple[int, ...], *, read: bool = True) -> bool:
        """Write what stands between two titles, which the model reads or not; says whether there is room for another title."""
        over = one.lines == len(leads)
        news = end if over else leads[one.lines]
        if len(one.tokens) + len(news) > one.limit:
            return False
        if read:
            self._rows[row].tokens.extend(news)
        else:
            self._rows[row].aside += len(news)
        one.write(news)
        one.whole = over
        return not over and len(one.tokens) < one.limit

    def extend(self, rows: Sequence[int], texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Append the environment's text to each of `rows`, encoded alone; returns the ids that were appended. Nothing is computed yet."""
        added = self._table.encode_many(texts)
        for row, tokens in zip(rows, added, strict=True):
            self._rows[row].tokens.extend(tokens)
        return added

    def score(self, rows: Sequence[int], continuations: Sequence[Sequence[str]]) -> list[Floats]:
        """Per row the log-likelihood of each continuation at the present end; the rows stay as they are.

        The continuations of a row become one forest that shares beginnings, and go through the model in one pass;
        what has one token needs no pass at all.
        """
        scores: list[Floats] = []
        encoded = [self._table.encode_many(texts) for texts in continuations]
        start = 0
        with self._decoder.at_work():
            while start < len(rows):
                stop = start + 1
                most = sum(map(len, encoded[start]))
                while stop < len(rows) and max(most, sum(map(len, encoded[stop]))) * (stop + 1 - start) <= CROWD:
                    most = max(most, sum(map(len, encoded[stop])))
                    stop += 1
                scores.extend(self._score(self.branches(rows[start:stop]), encoded[start:stop]))
                start = stop
        return scores

    def branches(self, rows: Sequence[int]) -> Branches:
        """A forest whose row i hangs on `rows[i]`; good until this conversation is used otherwise. Call it while the decoder is at work."""
        for row in rows:
            if len(self._rows[row].tokens) > self._context:
                raise ModelError(f"row {row} has {len(self._rows[row].tokens)} tokens, but the model reads at most {self._context}")
        self._settle(rows)
        self._arrange(rows, in_order=True)
        assert self._hidden is not None
        return Branches(self._decoder, self._cache, [self._rows[row].done for row in rows], self._hidden[list(rows)])

    def _score(self, forest: Branches, continuations: Sequence[Sequence[tuple[int, ...]]]) -> list[Floats]:
        """The log-likelihood of every continuation of every row of `forest`."""
        known: list[dict[tuple[int, ...], int]] = [{(): ROOT} for _ in continuations]
        where: list[int] = []
        parents: list[int] = []
        tokens: list[int] = []
        for index, (paths, texts) in enumerate(zip(known, continuations, strict=True)):
            for text in texts:
                for end in range(1, len(text)):
                    if text[:end] not in paths:
                        where.append(index)
                        parents.append(paths[text[: end - 1]])
                        tokens.append(text[end - 1])
                        paths[text[:end]] = forest.size + len(tokens) - 1
        hidden = torch.cat([forest.roots, forest.grow(where, parents, tokens)]) if tokens else forest.roots
        before = [
            index if end == 0 else len(continuations) + known[index][text[:end]]
            for index, texts in enumerate(continuations)
            for text in texts
            for end in range(len(text))
        ]
        targets = [token for texts in continuations for text in texts for token in text]
        values = self._decoder.pair_logprobs(hidden, np.asarray(before, dtype=np.int64), np.asarray(targets, dtype=np.int64))
        ends = np.cumsum([0] + [len(text) for texts in continuations for text in texts])
        sums = np.concatenate([[0.0], np.cumsum(values)])
        likelihoods = (sums[ends[1:]] - sums[ends[:-1]]).astype(np.float32)
        return np.split(likelihoods, np.cumsum([len(texts) for texts in continuations])[:-1])

    def _single(self, texts: Sequence[str]) -> tuple[int, ...]:
        """The ids of those of `texts` that are one token."""
        return tuple(tokens[0] for tokens in self._table.encode_many(texts) if len(tokens) == 1)

    def _write(self, row: Row, draft: Draft, *, token: int, logprob: float, stops: Sequence[bytes]) -> bool:
        """Put a sampled token on `row` and into `draft`; says whether the row goes on."""
        goes_on = draft.write(token, logprob, table=self._table, stops=stops, ends=self._ends)
        row.tokens += draft.tokens[-draft.spill :] if draft.spill else [token]
        return goes_on and len(row.tokens) < self._context

    def _choose(self, rows: Sequence[int], logits: Tensor) -> tuple[list[int], list[float]]:
        """The next token of each row, by inverse transform sampling or greedily, and its log-probability under the policy, unheated."""
        logprobs = torch.log_softmax(logits, dim=-1)
        if self._temperature == 0:
            ids = logprobs.argmax(dim=-1)
        else:
            heated = logprobs if self._temperature == 1 else torch.log_softmax(logits / self._temperature, dim=-1)
            steps = heated.double().exp().cumsum(dim=-1)
            uniforms = torch.tensor([self._rows[row].uniform() for row in rows], dtype=torch.float64, device=logits.device)
            # `right` skips tokens of probability 0; the product with the last step absorbs the rounding of the sum.
            ids = torch.searchsorted(steps, uniforms[:, None] * steps[:, -1:], right=True)[:, 0].clamp(max=logits.shape[1] - 1)
        return ids.tolist(), logprobs.gather(1, ids[:, None])[:, 0].tolist()

    def _logits(self, rows: Sequence[int]) -> Tensor:
        """(n, vocabulary) what comes next on each of `rows`."""
        self._settle(rows)
        assert self._hidden is not None
        return self._decoder.logits(self._hidden[list(rows)])

    def _settle(self, rows: Sequence[int]) -> None:
        """Bring everything that waits on `rows` through the model."""
        fresh = [row for row in rows if self._rows[row].done == 0]
        leaders = {tuple(self._rows[row].tokens): row for row in reversed(fresh)}
        copies = [row for row in fresh if leaders[tuple(self._rows[row].tokens)] != row]  # samples of one prompt: it is read once
        twins = set(copies)
        waiting = [row for row in rows if row not in twins and self._rows[row].done < len(self._rows[row].tokens)]
        while waiting:
            order = self._arrange(waiting)
            first = 0
            while first < len(order):
                first += self._advance(order[first:], first=first)
            waiting = [row for row in waiting if self._rows[row].done < len(self._rows[row].tokens)]
        if copies:
            origins = [leaders[tuple(self._rows[row].tokens)] for row in copies]
            self._cache.copy(
                [self._slot_of[row] for row in origins],
                [self._slot_of[row] for row in copies],
                places=max(self._rows[row].done for row in origins),
            )
            assert self._hidden is not None
            self._hidden[copies] = self._hidden[origins]
            for copy in copies:
                self._rows[copy].done = len(self._rows[copy].tokens)

    def _advance(self, order: Sequence[int], *, first: int) -> int:
        """One pass over news of as many of `order` as fit into it, which stand in the slots from `first` on; says how many those were."""
        counts: list[int] = []
        for row in order:
            count = min(PIECE, len(self._rows[row].tokens) - self._rows[row].done)
            if counts and (len(counts) + 1) * max(*counts, count) > CROWD:
                break
            counts.append(count)
        rows = [self._rows[row] for row in order[: len(counts)]]
        size: Ints = np.asarray(counts, dtype=np.int64)
        done: Ints = np.asarray([row.done for row in rows], dtype=np.int64)
        ends = np.cumsum(size)
        index = np.repeat(np.arange(len(rows)), size)
        column = np.arange(ends[-1]) - np.repeat(ends - size, size)
        place = done[index] + column
        places = int(place.max()) + 1
        self._cache.reserve(places)
        mask = np.arange(places) <= (done[:, None] + np.arange(size.max()))[:, :, None]
        device = self._decoder.device
        position = torch.from_numpy(place).to(device)
        step = Step(
            cache=self._cache,
            first=first,
            rows=len(rows),
            row=torch.from_numpy(index).to(device),
            column=torch.from_numpy(column).to(device),
            place=position,
            mask=torch.from_numpy(mask).to(device),
        )
        news = [token for row, count in zip(rows, counts, strict=True) for token in row.tokens[row.done : row.done + count]]
        hidden = self._decoder.forward(torch.tensor(news, device=device), position, step)
        if self._hidden is None:
            self._hidden = hidden.new_zeros(len(self._rows), hidden.shape[1])
        self._hidden[list(order[: len(counts)])] = hidden[torch.from_numpy(ends - 1).to(device)]
        for advanced, count in zip(rows, counts, strict=True):
            advanced.done += count
        return len(counts)

    def _arrange(self, rows: Sequence[int], *, in_order: bool = False) -> list[int]:
        """Move `rows` into the slots 0..n-1 and return them in the order of their slots, which is that of `rows` if `in_order`."""
        row_at = {slot: row for row, slot in enumerate(self._slot_of)}
        if in_order:
            goals = {row: slot for slot, row in enumerate(rows)}
        else:
            wanted = set(rows)
            free = [slot for slot in range(len(rows)) if row_at[slot] not in wanted]
            outside = [row for row in rows if self._slot_of[row] >= len(rows)]
            goals = dict(zip(outside, free, strict=True))
        moved = {row: slot for row, slot in goals.items() if self._slot_of[row] != slot}
        if moved:
            vacated = sorted({self._slot_of[row] for row in moved} - set(moved.values()))
            displaced = sorted(row_at[slot] for slot in moved.values() if row_at[slot] not in moved)
            moved |= dict(zip(displaced, vacated, strict=True))
            self._cache.copy([self._slot_of[row] for row in moved], list(moved.values()), places=max(self._rows[row].done for row in moved))
            for row, slot in moved.items():
                self._slot_of[row] = slot
        return sorted(rows, key=self._slot_of.__getitem__)

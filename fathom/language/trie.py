"""The token sequences of a catalogue's titles, as a trie: what a model may write where a title is asked for."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from fathom.errors import ModelError
from fathom.records import PAD, Choice, Floats, Ints

FIRST = 0
"""The node where no token of a title is written yet."""


class TitleTrie:
    """The token sequences of `title + "\\n"`: node 0 is the root, the children of a node are neighbours."""

    def __init__(self, sequences: Sequence[tuple[int, ...]]) -> None:
        children: list[dict[int, int]] = [{}]
        items = [PAD]
        for item, sequence in enumerate(sequences, start=1):
            node = FIRST
            for token in sequence:
                if items[node] != PAD:
                    raise ModelError(
                        f"item {items[node]} and item {item} cannot be told apart: the tokens of one title begin those of the other"
                    )
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    items.append(PAD)
                node = children[node][token]
            if items[node] != PAD or children[node]:
                raise ModelError(f"the title of item {item} has the tokens of another title, or begins one: titles must be unique lines")
            items[node] = item
        order, above = [FIRST], [FIRST]
        first: list[int] = []
        for place, node in enumerate(order):  # breadth first, while the list grows
            first.append(len(order))
            order.extend(children[node].values())
            above.extend([place] * len(children[node]))
        tokens = [token for node in order for token in children[node]]
        self.first: Ints = np.asarray([*first, len(order)], dtype=np.int64)
        """The children of `node` are the nodes first[node] .. first[node + 1] - 1."""
        self.token: Ints = np.asarray([-1, *tokens], dtype=np.int64)
        self.item: Ints = np.asarray(items, dtype=np.int64)[order]
        """The item whose title ends at a node; `PAD` inside a title."""
        self._above = above
        self.ends: Ints = np.zeros(len(sequences) + 1, dtype=np.int64)
        """Where each item's title ends; 0 for `PAD`."""
        self.ends[self.item] = np.where(self.item != PAD, np.arange(len(order)), 0)
        below = (self.item != PAD).astype(np.int64).tolist()
        for node in range(len(order) - 1, 0, -1):
            below[above[node]] += below[node]
        self.below: list[int] = below
        """How many titles end at a node or behind it."""

    def path(self, item: int) -> Iterator[int]:
        """The nodes from the end of an item's title up to the root."""
        node = int(self.ends[item])
        while node != FIRST:
            yield node
            node = self._above[node]
        yield FIRST

    def added(self, choices: Sequence[Choice], vocabulary: int) -> Floats:
        """(len(choices), vocabulary) what is added to the logits: -inf where a token may not stand, mostly 0 where it may."""
        added = np.full((len(choices), vocabulary), -np.inf, dtype=np.float32)
        for row, choice in zip(added, choices, strict=True):
            row[slice(None) if choice.node is None else self.token[self.first[choice.node] : self.first[choice.node + 1]]] = 0.0
            for token, value in choice.favoured:
                row[token] = value
            row[list(choice.blocked)] = -np.inf
        return added


class Pen:
    """Writes titles of a trie one after the other, token by token, none of them twice and none that is forbidden.

    `favour` says what speaks for an item beside the model, as a positive number of nats: it is added to the logit of each token of its
    title, or less than it where a better one shares that token. So the model's probability of the title is multiplied by about exp of it.
    """

    def __init__(self, trie: TitleTrie, forbidden: Collection[int] = (), favour: Mapping[int, float] | None = None) -> None:
        self._trie = trie
        self._paths = {item: tuple(trie.path(item))[::-1] for item in favour or {}}
        """Favoured item -> the nodes of its title from the root on."""
        self._favour = dict(favour or {})
        self._depth = 0
        self._gone: dict[int, int] = {}
        """Node -> how many titles at it or behind it may not be written any more; nodes without any are left out."""
        self._node = FIRST
        for item in set(forbidden) - {PAD}:
            self._forbid(item)

    @property
    def inside(self) -> bool:
        """Whether a title is begun and not ended."""
        return self._node != FIRST

    def choice(self) -> Choice | None:
        """Between what the next token is chosen; None where no title is left."""
        trie, node = self._trie, self._node
        if self._gone.get(node, 0) == trie.below[node]:
            return None
        low, high = int(trie.first[node]), int(trie.first[node + 1])
        blocked = [child for child, gone in self._gone.items() if low <= child < high and gone == trie.below[child]]
        best: dict[int, float] = {}
        for item, path in self._paths.items():
            if len(path) > self._depth + 1 and path[self._depth] == node:
                child = path[self._depth + 1]
                best[child] = max(best.get(child, 0.0), self._favour[item])
        favoured = sorted((int(trie.token[child]), value) for child, value in best.items())
        return Choice(node, tuple(sorted(int(trie.token[child]) for child in blocked)), tuple(favoured))

    def write(self, token: int) -> int:
        """Take the next token; returns the item whose title it ends, or `PAD`."""
        low, high = self._trie.first[self._node : self._node + 2].tolist()
        [place] = np.flatnonzero(self._trie.token[low:high] == token)
        self._node, self._depth = low + int(place), self._depth + 1
        item = int(self._trie.item[self._node])
        if item != PAD:
            self._forbid(item)
            self._node, self._depth = FIRST, 0
        return item

    def _forbid(self, item: int) -> None:
        self._paths.pop(item, None)
        for node in self._trie.path(item):
            self._gone[node] = self._gone.get(node, 0) + 1

"""The token sequences of a catalogue's titles, as a trie: what a model may write where a title is asked for."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fathom.errors import ModelError
from fathom.records import PAD, Choice, Ints

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
        self._end: Ints = np.zeros(len(sequences) + 1, dtype=np.int64)
        """Where each item's title ends; 0 for `PAD`."""
        self._end[self.item] = np.where(self.item != PAD, np.arange(len(order)), 0)
        below = (self.item != PAD).astype(np.int64).tolist()
        for node in range(len(order) - 1, 0, -1):
            below[above[node]] += below[node]
        self._below: list[int] = below
        """How many titles end at a node or behind it."""

    def path(self, item: int) -> Iterator[int]:
        """The nodes from the end of an item's title up to the root."""
        node = int(self._end[item])
        while node != FIRST:
            yield node
            node = self._above[node]
        yield FIRST

    def allowed(self, choices: Sequence[Choice], vocabulary: int) -> npt.NDArray[np.bool_]:
        """(len(choices), vocabulary) True where a token may stand."""
        mask = np.zeros((len(choices), vocabulary), dtype=np.bool_)
        for row, choice in zip(mask, choices, strict=True):
            row[self.token[self.first[choice.node] : self.first[choice.node + 1]]] = True
            row[list(choice.blocked)] = False
        return mask


class Pen:
    """Writes titles of a trie one after the other, token by token, none of them twice and none that is forbidden."""

    def __init__(self, trie: TitleTrie, forbidden: Collection[int] = ()) -> None:
        self._trie = trie
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
        if self._gone.get(node, 0) == trie._below[node]:
            return None
        low, high = int(trie.first[node]), int(trie.first[node + 1])
        blocked = [child for child, gone in self._gone.items() if low <= child < high and gone == trie._below[child]]
        return Choice(node, tuple(sorted(int(trie.token[child]) for child in blocked)))

    def write(self, token: int) -> int:
        """Take the next token; returns the item whose title it ends, or `PAD`."""
        low, high = self._trie.first[self._node : self._node + 2].tolist()
        [place] = np.flatnonzero(self._trie.token[low:high] == token)
        self._node = low + int(place)
        item = int(self._trie.item[self._node])
        if item != PAD:
            self._forbid(item)
            self._node = FIRST
        return item

    def _forbid(self, item: int) -> None:
        for node in self._trie.path(item):
            self._gone[node] = self._gone.get(node, 0) + 1

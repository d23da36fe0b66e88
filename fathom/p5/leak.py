"""How much the numbers of items tell of what is asked for: the rule "the next number", which has no parameters and learns nothing."""

import numpy as np

from fathom.records import Interactions, Ints


def next_number_hits(order: Ints, log: Interactions, *, k: int = 10) -> float:
    """HR@k of the rule, about everybody's last event, where items are numbered in this `order` (n_items,).

    From the last number of a history and from its largest one the next ones are proposed in turns, none of the history, k in all. At
    random it finds k / n_items. Numbers in the order of first appearance find more, since other people took neighbours together; where
    the walk saw the last events themselves, it finds those that nobody had taken before.
    """
    number = np.zeros(len(order) + 1, dtype=np.int64)
    number[order] = np.arange(1, len(order) + 1)
    hits = asked = 0
    for user in range(log.n_users):
        *history, target = number[log.history(user)].tolist()
        if not history:
            continue
        taken, found = set(history), list[int]()
        starts = (history[-1], max(history))
        for step in range(1, len(order) + 1):
            for start in starts:
                if start + step <= len(order) and start + step not in taken and start + step not in found:
                    found.append(start + step)
            if len(found) >= k or max(starts) + step > len(order):
                break
        hits += target in found[:k]
        asked += 1
    return hits / max(asked, 1)

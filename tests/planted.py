"""Sequences whose law is known: everybody walks through one shelf of the catalogue, mostly to the neighbour on the right."""

import numpy as np

from fathom.records import Case, Catalog, Interactions

SHELVES, SIZE = 6, 10
N_ITEMS = SHELVES * SIZE
DAY = 86_400
CATALOG = Catalog(
    tuple(f"i{item}" for item in range(1, N_ITEMS + 1)),
    tuple(f"{('Red', 'Blue', 'Green', 'Black', 'White', 'Grey')[place // SIZE]} thing {place % SIZE}" for place in range(N_ITEMS)),
    {"colour": tuple((("red", "blue", "green", "black", "white", "grey")[place // SIZE],) for place in range(N_ITEMS))},
)


def walks(users: int = 240, *, seed: int = 0, events: int = 8) -> tuple[Interactions, tuple[Case, ...]]:
    """The log without everybody's last event, and a case that asks for it.

    With probability .8 the next item is the right-hand neighbour of the last one, else any that is left on the shelf. Shelves are not
    equally popular.
    """
    rng = np.random.default_rng(seed)
    shelves = rng.choice(SHELVES, size=users, p=np.arange(SHELVES, 0, -1) / (SHELVES * (SHELVES + 1) / 2))
    histories = []
    for shelf in shelves:
        left = list(range(SIZE))
        place = int(rng.integers(SIZE))
        walk = [place]
        left.remove(place)
        while len(walk) <= events:
            right = (walk[-1] + 1) % SIZE
            place = right if right in left and rng.random() < 0.8 else int(rng.choice(left))
            walk.append(place)
            left.remove(place)
        histories.append([1 + int(shelf) * SIZE + place for place in walk])
    starts = rng.integers(0, 300, size=users)
    times = [[int(start) * DAY + hour * 3600 for hour in range(events)] for start in starts]
    log = Interactions(
        users=tuple(f"u{user}" for user in range(users)),
        offsets=np.arange(users + 1, dtype=np.int64) * events,
        items=np.array([item for history in histories for item in history[:-1]], dtype=np.int64),
        times=np.array([time for row in times for time in row], dtype=np.int64),
    )
    cases = tuple(
        Case(user, tuple(history[:-1]), history[-1], times=tuple(row))
        for user, (history, row) in enumerate(zip(histories, times, strict=True))
    )
    return log, cases

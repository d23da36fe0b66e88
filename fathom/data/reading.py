"""How a source is to be read: the choices of whoever imports it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from fathom.data.dataset import Dataset
from fathom.settings import Settings


class Reading(Settings):
    """Choices for reading one source; a choice that a source has no use for is refused by `fathom.data.sources.read`."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Role (user, item, time, position, rating, title, description, attributes.NAME) -> column."""
    items: Path | None = None
    """A table of the items beside the log."""
    separator: str | None = Field(None, min_length=1)
    """What separates the fields of a text table; None: found from its first line."""
    encoding: str = "utf-8"
    """How a text table is encoded."""
    name: str | None = None
    """What the dataset is called; None: as its source."""
    renumber: int | None = Field(None, ge=0)
    """Seed of a random order of item ids; None: the order of the source, unless its ids are known to leak."""
    repeats: bool = False
    """Whether a user's later interactions with the same item stay."""
    priced: bool = False
    """Whether items whose price is not known as a number are left out."""
    reviews: bool = False
    """Whether what people wrote is kept with each event: its `review` and `headline`."""


@dataclass(frozen=True, slots=True)
class Source:
    """One layout that can be read."""

    what: str
    """One line: which files it is."""
    recognises: Callable[[Path], bool]
    """Whether a file or folder has this layout; looks at names and at most at a first line."""
    read: Callable[[Path, Reading], Dataset]
    uses: frozenset[str] = frozenset({"name", "renumber", "repeats"})
    """The choices of `Reading` it listens to."""

"""What a run brings into a service: its catalogue, its people, its models, each made when it is first asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fathom.contracts import Rater, Recommender
from fathom.records import Case, Catalog
from fathom.serving.live import LiveShelves


@dataclass(frozen=True, slots=True)
class Offer:
    """One run."""

    name: str
    method: str
    catalog: Catalog
    people: Mapping[str, Case]
    """Name of the outside world -> everything that the person took; nothing is asked."""
    asked: Mapping[str, Case]
    """Name of a test user -> the case of which it is known what came next."""
    models: Mapping[str, Callable[[], Recommender]]
    """Row of the run's table -> how it is made."""
    agents: frozenset[str]
    """Those of the models that think aloud, turn by turn."""
    hearing: frozenset[str]
    """Those that take what is wanted in words."""
    growing: frozenset[str]
    """Those that can recommend items which come after training."""
    default: str
    """Who answers where nobody is named."""
    shelves: LiveShelves
    """Texts, companions, popularity: what is like what."""
    raters: Mapping[str, Callable[[], Rater]] = field(default_factory=dict)
    """Those of the models that foretell ratings."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """Model -> its figure in the run's table, in words; empty where the run was not judged."""

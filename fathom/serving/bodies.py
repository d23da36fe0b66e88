"""What the routes of a service take and give, as its OpenAPI document shows it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fathom.serving.live import NewItem

__all__ = ["NewItem"]

Word = Annotated[str, StringConstraints(min_length=1, max_length=500)]
"""A name or a title of an item, or the name of a person."""

Bounds = Annotated[list[float | None], Field(min_length=2, max_length=2)]
"""From and to."""

NAMED = "Item by its id or its exact title."


class Body(BaseModel):
    """What all bodies share: an unknown field is an error, and nothing is turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Whom(Body):
    """Who is asked, and about whom."""

    run: Word | None = Field(default=None, description="Run that answers; the first one where it is left out.")
    model: Word | None = Field(default=None, description="Model of that run; its own choice where it is left out.")
    user: Word | None = Field(default=None, description="Somebody known by name: history, likes and dislikes are remembered.")
    history: list[Word] | None = Field(default=None, description=f"Instead of `user`: what was taken, oldest first. {NAMED}")


class Filters(Body):
    """What an item must be to be shown."""

    wanted: dict[str, list[str]] = Field(default_factory=dict, description="Attribute -> values, of which an item must have one.")
    barred: dict[str, list[str]] = Field(default_factory=dict, description="Attribute -> values that no item may have.")
    years: Bounds | None = Field(default=None, description="From and to, both inside; null: open.")
    price: Bounds | None = Field(default=None, description="From and to, both inside; null: open.")


class Recommend(Whom):
    """What POST /v1/recommend takes."""

    k: int = Field(default=10, ge=1, description="Items that are wanted.")
    preference: str = Field(default="", description="What is wanted, in words, for models that hear them.")
    filters: Filters | None = None
    exclude: list[Word] = Field(default_factory=list, description=f"May not be shown. {NAMED}")
    explain: bool = Field(default=False, description="Say why each item stands there, and what an agent thought.")
    stream: bool = Field(default=False, description="Server-sent events: each `turn` of an agent as it ends, then the `list`.")


class Similar(Body):
    """What POST /v1/similar takes."""

    run: Word | None = None
    item: Word = Field(description=NAMED)
    k: int = Field(default=10, ge=1)


class Rate(Whom):
    """What POST /v1/rate takes."""

    items: list[Word] = Field(min_length=1, description=f"To be rated. {NAMED}")


class Act(Body):
    """Something that somebody did."""

    user: Word
    item: Word = Field(description=NAMED)
    kind: Literal["like", "dislike", "click", "impression"]
    conversation: Word | None = None
    model: Word | None = Field(default=None, description="Who had recommended it.")
    place: int | None = Field(default=None, ge=1, description="Where it stood in the list.")


class Acts(Body):
    """What POST /v1/feedback takes."""

    run: Word | None = None
    acts: list[Act] = Field(min_length=1)


class Said(Whom):
    """What POST /v1/chat takes."""

    message: str = Field(min_length=1)
    conversation: Word | None = Field(default=None, description="The conversation that goes on; a new one where it is left out.")
    stream: bool = Field(default=False, description="Server-sent events as they come, instead of one answer.")


class AddItem(NewItem):
    """What POST /v1/items takes."""

    run: Word | None = None


class Item(BaseModel):
    """An item as it is shown."""

    id: str
    title: str
    about: list[str] = Field(description="Values of its attributes.")


class Listed(Item):
    """An item in a list."""

    score: float | None = None
    reason: str | None = None
    turn: int | None = Field(default=None, description="In which of the agent's turns it first came back.")
    preference: str | None = Field(default=None, description="What the agent had asked for then.")


class TurnTold(BaseModel):
    """One turn of an agent."""

    number: int
    thought: str
    preference: str
    items: list["TurnItem"]


class TurnItem(Item):
    """An item that came back in a turn."""

    new: bool = Field(description="Whether no turn before had brought it.")


class Recommended(BaseModel):
    """What POST /v1/recommend gives."""

    run: str
    model: str
    items: list[Listed]
    turns: list[TurnTold] = Field(default_factory=list)
    conclusion: str = ""
    seconds: float


class SimilarItems(BaseModel):
    """What POST /v1/similar gives."""

    run: str
    items: list[Listed]


class Rated(BaseModel):
    """What POST /v1/rate gives."""

    run: str
    model: str
    ratings: list[float] = Field(description="In the order of the items.")


class Reply(BaseModel):
    """What POST /v1/chat gives."""

    conversation: str
    run: str
    model: str
    text: str
    items: list[Listed]
    turns: list[TurnTold] = Field(default_factory=list)
    asks: bool = Field(description="Whether it is a question.")


class ModelTold(BaseModel):
    """A model of a run."""

    name: str
    agent: bool = Field(description="Whether it thinks aloud, turn by turn.")
    hears_preferences: bool
    rates: bool
    figure: str = Field(description="Its figure in the run's table.")


class RunTold(BaseModel):
    """A run that is served."""

    name: str
    method: str
    items: int
    people: int
    default: str
    attributes: list[str]
    models: list[ModelTold]


class PersonTold(BaseModel):
    """Somebody who is known."""

    user: str
    history: list[Item]
    disliked: list[Item]
    question: list[Item] | None = Field(default=None, description="Of a test user: the history before what was held out.")
    came_next: Item | None = Field(default=None, description="Of a test user: what was held out.")


class Found(BaseModel):
    """Items that were searched for."""

    items: list[Item]


class People(BaseModel):
    """Names of people."""

    users: list[str]


class Kept(BaseModel):
    """How much was kept."""

    kept: int


class Added(BaseModel):
    """An item that came."""

    item: Item
    models: list[str] = Field(description="The models that can recommend it without being trained again.")


class Health(BaseModel):
    """Whether the service lives."""

    status: Literal["ok"] = "ok"


class Told(BaseModel):
    """Why there is no answer."""

    message: str
    type: str
    param: str | None
    code: str


class Error(BaseModel):
    """What every route gives where it cannot answer."""

    error: Told

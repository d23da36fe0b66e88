"""What every recipe says, whatever its method: which data, which cases, which recommender and language model to begin with."""

from datetime import date
from typing import Self

from pydantic import Field, model_validator

from fathom.data.sessions import Repeats
from fathom.data.splits import SPLITS
from fathom.data.world import WorldSettings
from fathom.errors import suggestion
from fathom.language.builtin import BuiltinSettings
from fathom.settings import Settings
from fathom.training.pretrain import WindowSettings
from fathom.training.sequential import SASRecTraining
from fathom.training.supervised import FitSettings


class WindowOfTime(Settings):
    """The last months of a log, and more of them where they hold too few items."""

    end: date
    """Day in UTC before which it ends."""
    months: int = Field(default=12, ge=1)
    """How long it is at first."""
    step: int = Field(default=3, ge=1)
    """So many months earlier it begins while it holds fewer than `least_items`."""
    least_items: int = Field(default=10_000, ge=1)
    """Items that it should hold."""
    core: int = Field(default=0, ge=0)
    """Users and items with fewer interactions in the whole log are left out before the window is laid; 0 keeps all."""


class SessionSettings(Settings):
    """How histories are cut into sessions, each of which is then a user of its own."""

    gap: float = Field(default=30.0, gt=0)
    """Minutes after which a session has ended."""
    repeats: Repeats = "collapse"
    """Of repeats all are kept, or the first of each run, or the first of each item ('drop')."""
    longest: int = Field(default=20, ge=1)
    """Events that a session keeps, its first ones."""
    shortest: int = Field(default=2, ge=1)
    """Sessions of fewer events go."""


class SourceSettings(Settings):
    """A data set from outside and the filters it goes through."""

    name: str
    """A folder or file, or the name of one below FATHOM_DATA (or ./data, where 'fathom data get' puts them)."""
    least_rating: float = 0.0
    """Interactions rated lower are left out; 0 keeps all, also those without a rating."""
    title_words: int = Field(default=0, ge=0)
    """Items with longer titles are left out; 0 keeps all."""
    priced: bool = False
    """Items of Amazon whose price is not known are left out."""
    reviews: bool = False
    """What people wrote is kept with each event: reviews of Amazon, and columns `labels.review` of one's own tables."""
    window: WindowOfTime | None = None
    """Interactions outside it are left out; left out: none are."""
    repeats: bool = False
    """Later interactions of somebody with the same item are kept: sessions have them, and seen items are excluded all the same."""
    core: int = Field(default=0, ge=0)
    """Users and items with fewer interactions are left out until none remains, after all other filters; 0 keeps all."""


class HoldOutSettings(Settings):
    """Which training events a method's first trainings never see, so that reinforcement learning meets questions like those of service."""

    share: float = Field(default=0.1, gt=0, lt=1)
    """Of each training history, from its end."""
    most: int = Field(default=8, ge=1)
    """Events of one user at most."""
    keep: int = Field(default=5, ge=1)
    """Events that stay at least."""


class LanguageSettings(Settings):
    """Which language model it is, and how it first learns."""

    model: str = "builtin"
    """'builtin', or a local folder or hub name of any causal language model."""
    builtin: BuiltinSettings = BuiltinSettings()
    """Size and make of the built-in one."""
    lora: int = Field(default=0, ge=0)
    """Rank of LoRA adapters for a model of one's own; 0 trains all its weights."""
    windows: WindowSettings = WindowSettings()
    """How texts and histories are laid out for pretraining."""
    texts: float = Field(default=1.0, ge=0, le=1)
    """Share of the catalogue's texts that an epoch of pretraining reads, drawn anew; long texts would else crowd out the histories."""
    pretrain: FitSettings = FitSettings(epochs=6, batch_size=64, learning_rate=1e-3)
    """On catalogue text and training histories, before anything else; for a model from outside it is a first acquaintance."""


class Recipe(Settings):
    """What the recipes of all methods have in common."""

    method: str
    """Which method it is a recipe of: 'deeprec' where it is left out."""
    name: str
    """Of the run; its folder is runs/<name> unless --out says otherwise."""
    seed: int = Field(default=42, ge=0)
    """Of sampled users and of whatever has no seed of its own."""
    world: WorldSettings | None = None
    """The built-in world; either this or `source`."""
    source: SourceSettings | None = None
    """Data from outside; either this or `world`."""
    sessions: SessionSettings | None = None
    """Histories are cut into sessions; left out: they stay whole."""
    split: str = "leave-one-out"
    """How test and validation cases are cut off."""
    valid_users: int = Field(default=1000, ge=0)
    """Validation cases that trainings look at; 0: all."""
    test_users: int = Field(default=0, ge=0)
    """Test cases that every row is asked, drawn by `seed`; 0: all."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.world is None) == (self.source is None):
            raise ValueError("a recipe needs either 'world' (the built-in one) or 'source' (your data), and not both")
        if self.split not in SPLITS:
            raise ValueError(f"split is '{self.split}'{suggestion(self.split, SPLITS)}")
        return self


class LanguageRecipe(Recipe):
    """What the recipes of language models that recommend have in common."""

    encoder: str = "minilm"
    """Makes vectors of item texts and preferences: minilm, hashing, st:NAME, lm:FOLDER or http://HOST/v1#MODEL."""
    hold_out: HoldOutSettings = HoldOutSettings()
    """Which training events are kept back for reinforcement learning."""
    sasrec: SASRecTraining = SASRecTraining()
    """The sequential recommender beside which everything stands."""
    language: LanguageSettings = LanguageSettings()
    """The language model."""

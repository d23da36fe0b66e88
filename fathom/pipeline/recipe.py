"""What a recipe of the main job says: one settings class for each stage, in the order of the stages."""

from typing import Self

from pydantic import Field, model_validator

from fathom.agents.protocol import ProtocolSettings
from fathom.agents.rewards import RewardSettings
from fathom.data.splits import SPLITS
from fathom.data.world import WorldSettings
from fathom.errors import suggestion
from fathom.language.builtin import BuiltinSettings
from fathom.language.remote_settings import RemoteSettings
from fathom.settings import Settings
from fathom.training.imitate import ImitateSettings
from fathom.training.preferences import PreferenceSettings
from fathom.training.pretrain import WindowSettings
from fathom.training.recitation import RecitationSettings
from fathom.training.refit import RefitSettings
from fathom.training.reinforce_settings import ReinforceSettings
from fathom.training.retrieval import RetrieverTraining
from fathom.training.sequential import SASRecTraining, SequenceFit
from fathom.training.supervised import FitSettings
from fathom.training.traces import TraceSettings


class SourceSettings(Settings):
    """A data set from outside and the filters it goes through."""

    name: str
    """A folder or file, or the name of one below FATHOM_DATA (or ./data, where 'fathom data get' puts them)."""
    least_rating: float = 0.0
    """Interactions rated lower are left out; 0 keeps all, also those without a rating."""
    core: int = Field(default=0, ge=0)
    """Users and items with fewer interactions are left out until none remains; 0 keeps all."""


class HoldOutSettings(Settings):
    """Which training events are kept from the episodes' retriever, so that the agent meets questions like those of service."""

    share: float = Field(default=0.1, gt=0, lt=1)
    """Of each training history, from its end."""
    most: int = Field(default=8, ge=1)
    """Events of one user at most."""
    keep: int = Field(default=5, ge=1)
    """Events that stay at least."""


class LanguageSettings(Settings):
    """Which language model talks, and how it first learns."""

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
    recitations: RecitationSettings = RecitationSettings()
    """Lists and their repetition, from which a model from random weights learns to copy."""
    pretrain: FitSettings = FitSettings(epochs=6, batch_size=64, learning_rate=1e-3)
    """On catalogue text and training histories, before any conversation; for a model from outside it is a first acquaintance."""
    prompt_events: int = Field(default=100, ge=1)
    """Latest events that the row `lm` reads; they should fit into a row of the windows."""
    refit: FitSettings = FitSettings(epochs=1, batch_size=64, learning_rate=3e-4)
    """Continued on whole training histories, for the row `lm`."""


class EpisodeSettings(Settings):
    """Which held-out events become traces and which become questions of reinforcement learning."""

    hardest: int = Field(default=100, ge=1)
    """Questions of reinforcement learning whose target the retriever ranks below this place are left out: nothing could be found."""
    reinforce_share: float = Field(default=0.3, ge=0, lt=1)
    """Share of the people whose held-out events only reinforcement learning asks for; half of these in each of its stages."""


class EndpointSettings(RemoteSettings):
    """A language model behind an OpenAI-compatible endpoint that plays beside the others, untrained."""

    users: int = Field(default=100, ge=1)
    """Test users it is asked about, drawn by the recipe's `seed`: endpoints cost time and money."""


class Recipe(Settings):
    """The whole of DeepRec's main job (arXiv:2505.16810)."""

    name: str
    """Of the run; its folder is runs/<name> unless --out says otherwise."""
    seed: int = Field(default=42, ge=0)
    """Of sampled users and of whatever has no seed of its own."""
    world: WorldSettings | None = None
    """The built-in world; either this or `source`."""
    source: SourceSettings | None = None
    """Data from outside; either this or `world`."""
    split: str = "leave-one-out"
    """How test and validation cases are cut off."""
    valid_users: int = Field(default=1000, ge=0)
    """Validation cases that trainings look at; 0: all."""
    test_users: int = Field(default=0, ge=0)
    """Test cases that every row is asked, drawn by `seed`; 0: all."""
    encoder: str = "minilm"
    """Makes vectors of item texts and preferences: minilm, hashing, or st:NAME for any sentence-transformers model."""
    hold_out: HoldOutSettings = HoldOutSettings()
    """What the episodes' retriever never sees."""
    sasrec: SASRecTraining = SASRecTraining()
    """The sequential recommender beside which everything stands."""
    retriever: RetrieverTraining = RetrieverTraining()
    """The preference-aware retriever that the agent questions."""
    retriever_refit: SequenceFit = SequenceFit(epochs=4, learning_rate=5e-4)
    """How it is continued on whole training histories before it serves."""
    preferences: PreferenceSettings = PreferenceSettings()
    """Made-up preferences for the retriever's training and the traces."""
    language: LanguageSettings = LanguageSettings()
    """The language model."""
    protocol: ProtocolSettings = ProtocolSettings()
    """The conversation."""
    episodes: EpisodeSettings = EpisodeSettings()
    """Who is asked about in traces and reinforcement learning."""
    traces: TraceSettings = TraceSettings()
    """What the warm start imitates."""
    imitate: ImitateSettings = ImitateSettings()
    """The warm start."""
    rewards: RewardSettings = RewardSettings()
    """What episodes earn."""
    stage1: ReinforceSettings = ReinforceSettings(steps=20)
    """Reinforcement learning of how to ask: process rewards."""
    stage2: ReinforceSettings = ReinforceSettings(steps=80)
    """Reinforcement learning of what to recommend: format and outcome rewards."""
    agent_refit: RefitSettings = RefitSettings(fit=FitSettings(epochs=1, batch_size=32, learning_rate=2e-4))
    """How the agent is continued, on its own conversations and whole training histories, before it serves."""
    retrieval: str = ""
    """Address of the service that answers the calls of reinforcement learning ('fathom serve retrieval RUN --training'), for agents that
    play on several machines; '': each process opens the retriever itself."""
    endpoint: EndpointSettings | None = None
    """A remote language model for the row `endpoint`; left out: no such row."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.world is None) == (self.source is None):
            raise ValueError("a recipe needs either 'world' (the built-in one) or 'source' (your data), and not both")
        if self.split not in SPLITS:
            raise ValueError(f"split is '{self.split}'{suggestion(self.split, SPLITS)}")
        if self.rewards.answer_length != self.protocol.answer_length:
            raise ValueError(
                f"rewards.answer_length is {self.rewards.answer_length}, but protocol.answer_length is {self.protocol.answer_length}: "
                "write the same"
            )
        for stage, settings in {"stage1": self.stage1, "stage2": self.stage2}.items():
            if settings.vllm and self.protocol.constrained:
                raise ValueError(
                    f"{stage}.vllm is '{settings.vllm}', but protocol.constrained is true: a server cannot be kept to titles; "
                    "write constrained: false, or leave vllm out"
                )
        if self.traces.sequels and not self.protocol.reminded:
            raise ValueError(
                f"traces.sequels is {self.traces.sequels}, but protocol.reminded is 0: a sequel goes on behind a reminder; "
                "write how many events it repeats, or sequels: 0"
            )
        return self

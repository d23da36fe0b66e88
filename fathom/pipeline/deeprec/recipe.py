"""What a recipe of the main job says: one settings class for each stage, in the order of the stages."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.agents.protocol import ProtocolSettings
from fathom.agents.rewards import RewardSettings
from fathom.language.remote_settings import RemoteSettings
from fathom.pipeline.recipe import LanguageRecipe, LanguageSettings
from fathom.settings import Settings
from fathom.training.imitate import ImitateSettings
from fathom.training.preferences import PreferenceSettings
from fathom.training.recitation import RecitationSettings
from fathom.training.refit import RefitSettings
from fathom.training.reinforce_settings import ReinforceSettings
from fathom.training.retrieval import RetrieverTraining
from fathom.training.sequential import SequenceFit
from fathom.training.supervised import FitSettings
from fathom.training.traces import TraceSettings


class TalkingSettings(LanguageSettings):
    """The language model that talks with the retriever, and also recommends by itself."""

    recitations: RecitationSettings = RecitationSettings()
    """Lists and their repetition, from which a model from random weights learns to copy."""
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


class DeepRecRecipe(LanguageRecipe):
    """The whole of DeepRec's main job (arXiv:2505.16810)."""

    method: Literal["deeprec"] = "deeprec"
    """Which method it is a recipe of."""
    language: TalkingSettings = TalkingSettings()
    """The language model."""
    retriever: RetrieverTraining = RetrieverTraining()
    """The preference-aware retriever that the agent questions."""
    retriever_refit: SequenceFit = SequenceFit(epochs=4, learning_rate=5e-4)
    """How it is continued on whole training histories before it serves."""
    preferences: PreferenceSettings = PreferenceSettings()
    """Made-up preferences for the retriever's training and the traces."""
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
    """Address of the service that answers the calls of reinforcement learning ('fathom lend retriever RUN --training'), for agents that
    play on several machines; '': each process opens the retriever itself."""
    endpoint: EndpointSettings | None = None
    """A remote language model for the row `endpoint`; left out: no such row."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
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

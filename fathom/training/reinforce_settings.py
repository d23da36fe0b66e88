"""How an agent is trained by reinforcement; free of torch, so that a recipe can be read quickly."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.settings import Settings
from fathom.training.watch import WatchSettings


class ReinforceSettings(Settings):
    """How an agent is trained by reinforcement. Adam with betas 0.9 and 0.95, no weight decay, a constant learning rate."""

    steps: int = Field(default=20, ge=1)
    """Batches of episodes that are played and learned from."""
    prompts: int = Field(default=8, ge=1)
    """Different cases in a step."""
    samples: int = Field(default=4, ge=2)
    """Episodes played for each case."""
    updates: int = Field(default=1, ge=1)
    """Steps of the optimiser for each batch of episodes; from the second on the clip range matters."""
    micro_batch: int = Field(default=8, ge=1)
    """Episodes in one forward pass of one process; it changes memory, not results."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Constant. 1e-6 is right for billions of weights, about 1e-5 to 1e-4 for the small built-in model."""
    temperature: float = Field(default=1.0, gt=0, le=2)
    """Logits are divided by it when episodes are sampled and when they are learned from alike. Below 1, a small model strays less while
    it explores: at 1 a third of its episodes may be malformed by one odd token, and it learns to call less instead of better."""
    finish: Literal["written", "scored"] = "written"
    """How episodes get their lists. `scored`: what was retrieved, ordered by the model's likelihood. Then nothing of the answer is sampled:
    the episodes of a case differ by what was asked alone, and that alone is learned."""
    advantage: Literal["reinforce_baseline", "group_norm", "group_mean", "leave_one_out"] = "reinforce_baseline"
    """How rewards become advantages: REINFORCE++-baseline, GRPO, Dr. GRPO or RLOO."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """The probability ratio counts down to 1 minus this."""
    clip_high: float = Field(default=0.28, gt=0)
    """The probability ratio counts up to 1 plus this."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of a penalty on leaving the starting policy; above 0 it needs a second copy of the model on every device."""
    watch_kl: bool = True
    """Log how far the policy is from its start; this keeps a copy of it, so turn it off for models that fill the memory."""
    clip_gradient: float = Field(default=1.0, gt=0)
    """The gradient is shortened to this norm."""
    activation_checkpointing: bool = False
    """Compute activations again on the way back instead of keeping them: less memory, a third more time."""
    shuffle_rewards: bool = False
    """The control of honest learning: rewards are dealt out to the episodes of a batch at random, so nothing should improve."""
    validate_every: int = Field(default=20, ge=1)
    """Steps after which the agent answers validation cases greedily, as it will in use; also before the first step and after the last."""
    select: str = "reward"
    """The validation figure, higher is better, by which the weights are chosen that are kept: those of the start among them."""
    least_valid: float = Field(default=0.99, ge=0, le=1)
    """Weights with a smaller share of well-formed greedy conversations are kept only where no others are better formed: what asks more may
    earn more although it fails more often."""
    checkpoint_every: int = Field(default=1, ge=1)
    """Steps after which the state is written down again; it changes no result."""
    vllm: str = ""
    """Address of a vLLM server that samples the episodes ('http://localhost:8000'; see docs/training.md); '': this process does."""
    preflight: Literal["refuse", "warn"] = "refuse"
    """What to do when the dry episodes before training show that it could not learn."""
    watch: WatchSettings = WatchSettings()
    """When to stop because of a collapse."""
    seed: int = Field(default=42, ge=0)
    """Of the order of the cases and of all sampling."""

    @model_validator(mode="after")
    def _batch_can_be_cut(self) -> Self:
        episodes = self.prompts * self.samples
        if episodes % (self.updates * self.micro_batch):
            raise ValueError(
                f"prompts * samples is {episodes}, which {self.updates} updates of micro-batches of {self.micro_batch} do not divide: "
                f"write a micro_batch that divides {episodes / self.updates:g}"
            )
        return self

    @model_validator(mode="after")
    def _who_scores(self) -> Self:
        if self.vllm and self.finish == "scored":
            raise ValueError(
                f"vllm is '{self.vllm}', but finish is scored, and a server gives no likelihoods of titles: write finish: written"
            )
        return self

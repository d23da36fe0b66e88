"""Which OpenAI-compatible endpoint plays; free of its client, so that a recipe can be read without it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fathom.settings import Settings


class RemoteSettings(Settings):
    """Which endpoint is asked, and how patiently."""

    base_url: str
    """Where the endpoint is, for example 'http://localhost:8000/v1'."""
    model: str
    """The endpoint's name of the model."""
    api_key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, which thus stays out of recipes and run folders; local servers need none."""
    kind: Literal["completions", "chat"] = "completions"
    """'completions' sends one growing text; 'chat' sends the model's words as 'assistant' and everything else as 'user'."""
    timeout: float = Field(120.0, gt=0)
    """Seconds until a request counts as failed."""
    retries: int = Field(4, ge=0)
    """How often a failed request is sent again, after growing pauses."""
    parallel: int = Field(8, ge=1)
    """Requests under way at the same time."""
    token_budget: int | None = Field(None, ge=1)
    """Tokens, read and written, after which no more requests are sent; cached answers are free."""
    price_read: float = Field(0.0, ge=0)
    """Of a million tokens read, in whatever money the bill comes in."""
    price_written: float = Field(0.0, ge=0)
    """Of a million tokens written."""
    money_budget: float | None = Field(None, gt=0)
    """Money, by these prices, after which no more requests are sent."""

    def price(self, read: int, written: int) -> float:
        """What so many tokens cost."""
        return (read * self.price_read + written * self.price_written) / 1e6

    @model_validator(mode="after")
    def _prices(self) -> Self:
        if self.money_budget is not None and not (self.price_read or self.price_written):
            raise ValueError(f"money_budget is {self.money_budget:g}, but nothing costs anything: write price_read and price_written")
        return self

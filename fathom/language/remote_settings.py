"""Which OpenAI-compatible endpoint plays; free of its client, so that a recipe can be read without it."""

from typing import Literal

from pydantic import Field

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

"""What one request may ask for, and how much waits: a service that says no in time lives on."""

from pydantic import Field

from fathom.settings import Settings


class Limits(Settings):
    """Of one service."""

    body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Bytes of a request's body."""
    history_length: int = Field(default=1_000, ge=1)
    """Items in a history that is sent."""
    k: int = Field(default=100, ge=1)
    """Items that are recommended at most."""
    words: int = Field(default=2_000, ge=1)
    """Characters of a message or a preference."""
    seconds: float = Field(default=60.0, gt=0)
    """Until a request must be answered."""
    at_once: int = Field(default=256, ge=1)
    """Requests answered in one batch; agents play at most as many conversations as their language model holds."""
    waiting: int = Field(default=512, ge=1)
    """Requests to one model that may wait; further ones are told to come again."""
    open: int = Field(default=2_000, ge=1)
    """Requests of any kind that may be under way; further ones are told to come again. Whether it lives can always be asked."""
    idle_days: float = Field(default=30.0, gt=0)
    """Conversations in which nothing was said for so long are forgotten."""

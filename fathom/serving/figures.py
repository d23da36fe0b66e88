"""What a service says of itself to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds of what is counted as one."""


class Figures:
    """Of one service; the process keeps no others."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        whose = ("run", "model")
        self.requests = Counter("fathom_requests", "Requests answered.", ("route", "status"), registry=self._registry)
        self.seconds = Histogram("fathom_seconds", "From a request to its answer.", ("route",), buckets=SECONDS, registry=self._registry)
        self.batch = Histogram(
            "fathom_batch",
            "Questions answered together.",
            ("run", "model"),
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self._registry,
        )
        self.waiting = Gauge("fathom_waiting", "Questions that wait.", whose, registry=self._registry)
        self.episodes = Counter("fathom_episodes", "Conversations that agents played.", (*whose, "ending"), registry=self._registry)
        self.feedback = Counter("fathom_feedback", "What people did.", ("run", "kind"), registry=self._registry)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

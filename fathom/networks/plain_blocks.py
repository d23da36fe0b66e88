"""Blocks without attention: recurrent networks and an MLP."""

from torch import Tensor, nn

from fathom.networks.block import Block, BlockSettings, activation_of


class Recurrent(Block):
    """GRU or LSTM."""

    looks = frozenset({"back"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        kind = nn.GRU if settings.kind == "gru" else nn.LSTM
        dropout = settings.dropout if settings.layers > 1 else 0.0
        self.model = kind(settings.width, settings.width, settings.layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(settings.dropout)  # torch's own stands between layers alone

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Padding stands on the right: nothing real is read after it."""
        del inside
        assert back
        states: Tensor = self.dropout(self.model(inputs)[0])
        return states


class MLP(Block):
    """Each event by itself: what attention and memory are worth is seen beside it."""

    looks = frozenset({"back"})

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(settings.layers):
            layers += [nn.Linear(settings.width, settings.inner), activation_of(settings), nn.Dropout(settings.dropout)]
            layers += [nn.Linear(settings.inner, settings.width)]
        self.model = nn.Sequential(*layers)

    def forward(self, inputs: Tensor, inside: Tensor, *, back: bool) -> Tensor:
        """Place by place."""
        del inside
        assert back
        states: Tensor = self.model(inputs)
        return states

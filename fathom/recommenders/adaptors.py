"""Text vectors enter the space of item ids, and the two are mixed along the history (as TedRec and DeepRec's released code do)."""

import torch
from torch import Tensor, nn

from fathom.recommenders.encoders import Dropout


class MixtureAdaptor(nn.Module):
    """A mixture of linear experts: MoE(z) = sum_g softmax(z W)_g V_g Dropout(z), without biases, so that zero stays zero.

    In training the gate's logits are disturbed by eps (softplus(z W_n) + 0.01), eps standard normal (deeprec.md, 3.2).
    """

    def __init__(self, text_width: int, width: int, *, experts: int, dropout: float) -> None:
        super().__init__()
        self._experts = experts
        self.gate = nn.Linear(text_width, experts, bias=False)
        self.noise = nn.Linear(text_width, experts, bias=False)
        self.experts = nn.Linear(text_width, experts * width, bias=False)
        self.dropout = Dropout(dropout)
        self.untrained_size = (text_width * experts) ** -0.5
        """Root mean square of what untrained weights make of a unit vector: the mean of all experts."""
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.noise.weight)
        nn.init.normal_(self.experts.weight, std=text_width**-0.5)

    def forward(self, texts: Tensor) -> Tensor:
        """(..., d) from (..., D)."""
        logits = self.gate(texts).float()
        if self.training:
            spread = nn.functional.softplus(self.noise(texts).float()) + 0.01
            logits = logits + torch.randn_like(logits) * spread
        experts = self.experts(self.dropout(texts)).unflatten(-1, (self._experts, -1))
        shares = torch.softmax(logits, dim=-1).to(experts.dtype)
        mixed: Tensor = (shares[..., None, :] @ experts).squeeze(-2)
        return mixed


class PlainAdaptor(nn.Module):
    """One linear map without a bias: the simple choice."""

    def __init__(self, text_width: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.map = nn.Linear(text_width, width, bias=False)
        self.dropout = Dropout(dropout)
        self.untrained_size = text_width**-0.5
        """Root mean square of what untrained weights make of a unit vector."""
        nn.init.normal_(self.map.weight, std=self.untrained_size)

    def forward(self, texts: Tensor) -> Tensor:
        """(..., d) from (..., D)."""
        mapped: Tensor = self.map(self.dropout(texts))
        return mapped


class FrequencyMixing(nn.Module):
    """Ids and texts of one history, multiplied in the frequency domain, each part gated (TedRec; deeprec.md, 3.2).

    a = F^-1(F(ids) W), b = F^-1(F(texts) F(ids)); the result is 2 (a sigmoid(w1 a + b1) + b sigmoid(w2 b + b2)). F is the
    orthonormal Fourier transform along exactly `length` places: every history must be padded to it.
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self._length = length
        self.filter = nn.Parameter(torch.randn(length // 2 + 1, width, 2) * 0.02)
        self.id_gate = nn.Linear(width, 1)
        self.text_gate = nn.Linear(width, 1)

    def forward(self, ids: Tensor, texts: Tensor) -> Tensor:
        """(B, length, d) float32 from two of the same shape."""
        id_waves = torch.fft.rfft(ids.float(), n=self._length, dim=1, norm="ortho")
        text_waves = torch.fft.rfft(texts.float(), n=self._length, dim=1, norm="ortho")
        filtered = torch.fft.irfft(id_waves * torch.view_as_complex(self.filter), n=self._length, dim=1, norm="ortho")
        crossed = torch.fft.irfft(text_waves * id_waves, n=self._length, dim=1, norm="ortho")
        gated: Tensor = filtered * torch.sigmoid(self.id_gate(filtered)) + crossed * torch.sigmoid(self.text_gate(crossed))
        return 2 * gated

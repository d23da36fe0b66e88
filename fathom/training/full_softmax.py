"""The full softmax over a catalogue without ever holding its logits: a piece of the rows at a time stays in the cache."""

import torch
from torch import Tensor

LOGITS = 2**20
"""Logits alive at once on a CPU: 256 rows of 4,096 fit into the second-level cache of a core or two."""
LOGITS_ON_ACCELERATORS = 2**26


def full_softmax(queries: Tensor, table: Tensor, targets: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The sum over rows of -log softmax(queries @ table.T)[targets]: `queries` (M, d), `table` (V, d), `targets` (M,) rows of `table`.

    The loss is the cross-entropy with all V rows as candidates; `weights` (M,) multiply the rows' losses; with `smoothing` that
    share of the target's weight is spread over all rows. Products run in the autocast type, the softmax in float32. Gradients
    are worked out on the way, row by row p - onehot, so the (M, V) logits never exist as a whole: on two cores six to ten times
    faster than cross-entropy on whole logits in bfloat16 (M = 12,800, V = 3,416).
    """
    device = queries.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else queries.dtype
    with torch.autocast(device, enabled=False):
        loss: Tensor = _FullSoftmax.apply(queries, table, targets, weights, smoothing, dtype)  # type: ignore[no-untyped-call]
    return loss


class _FullSoftmax(torch.autograd.Function):
    """Computes loss and gradients in one sweep over the rows."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        queries: Tensor,
        table: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        smoothing: float,
        dtype: torch.dtype,
    ) -> Tensor:
        exact = torch.promote_types(queries.dtype, torch.float32)
        rows = max(1, (LOGITS if queries.device.type == "cpu" else LOGITS_ON_ACCELERATORS) // len(table))
        low_queries, low_table = queries.detach().to(dtype), table.detach().to(dtype)
        query_gradient = torch.empty_like(queries, dtype=exact)
        table_gradient = torch.zeros_like(table, dtype=exact)
        loss = queries.new_zeros((), dtype=exact)
        for start in range(0, len(queries), rows):
            some, wanted = low_queries[start : start + rows], targets[start : start + rows, None]
            logits = some @ low_table.T
            shares = torch.softmax(logits, dim=1, dtype=exact)
            surprise = _surprise(logits, shares, wanted, smoothing=smoothing)
            # The gradient by the logits is what was given minus what was wanted.
            shares.scatter_add_(1, wanted, torch.full_like(wanted, smoothing - 1, dtype=exact))
            if smoothing:
                shares -= smoothing / len(table)
            if weights is not None:
                weight = weights[start : start + rows, None].to(exact)
                surprise, shares = surprise * weight, shares.mul_(weight)
            loss += surprise.sum()
            wrong = shares.to(dtype)
            query_gradient[start : start + rows] = wrong @ low_table
            table_gradient += wrong.T @ some
        ctx.save_for_backward(query_gradient, table_gradient)
        return loss

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query_gradient, table_gradient = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * query_gradient, gradient * table_gradient, None, None, None, None


def _surprise(logits: Tensor, shares: Tensor, wanted: Tensor, *, smoothing: float) -> Tensor:
    """(rows, 1) the cross-entropy of some rows; a target whose share is too small for float32 counts as 87 nats.

    The normaliser follows from the target's own logit and share: no second pass over the row.
    """
    surprise = -shares.gather(1, wanted).clamp_min(torch.finfo(torch.float32).tiny).log()
    if not smoothing:
        return surprise
    normaliser = logits.gather(1, wanted).to(shares.dtype) + surprise
    uniform = normaliser - logits.mean(dim=1, keepdim=True, dtype=shares.dtype)
    return (1 - smoothing) * surprise + smoothing * uniform

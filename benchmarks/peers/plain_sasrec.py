"""SASRec as one writes it with torch alone: whole windows padded to 200, the softmax over whole logits, Adam, float32.

Called by benchmarks/peers.py, which explains what is compared; it runs in Fathom's own environment and uses nothing of it.
"""

import csv
import time

import spoken
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LENGTH, WIDTH, BATCH = 200, 64, 32


class Network(nn.Module):
    """Two layers of torch's encoder, items in and out by one table."""

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.items, self.places = nn.Embedding(n_items + 1, WIDTH, padding_idx=0), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        states: Tensor = self.encoder(self.items(ids) + self.places.weight[: ids.shape[1]], mask=mask, is_causal=True)
        return states


def rows_of(histories: list[list[int]]) -> Tensor:
    """(W, 201) windows of the newest events of each history and of those before them, padded on the right."""
    windows = [history[max(0, stop - LENGTH - 1) : stop] for history in histories for stop in range(len(history), 0, -LENGTH)]
    rows = torch.zeros(len(windows), LENGTH + 1, dtype=torch.long)
    for row, window in zip(rows, windows, strict=True):
        row[: len(window)] = torch.tensor(window)
    return rows


@torch.no_grad()
def judged(model: Network, histories: list[list[int]], targets: list[int]) -> float:
    """NDCG@10 over the whole catalogue, what was taken left out."""
    model.eval()
    gained = 0.0
    for start in range(0, len(targets), 256):
        some = [history[-LENGTH:] for history in histories[start : start + 256]]
        ids = torch.zeros(len(some), LENGTH, dtype=torch.long)
        for row, history in zip(ids, some, strict=True):
            row[: len(history)] = torch.tensor(history)
        last = torch.tensor([len(history) - 1 for history in some])
        scores = model(ids)[torch.arange(len(some)), last] @ model.items.weight.T
        scores[:, 0] = -torch.inf
        for row, history in zip(scores, histories[start : start + 256], strict=True):
            row[history] = -torch.inf
        hits = (scores.topk(10, dim=1).indices == torch.tensor(targets[start : start + 256])[:, None]).nonzero()
        gained += float((1 / torch.log2(hits[:, 1] + 2.0)).sum())
    model.train()
    return gained / len(targets)


def main() -> None:
    """Train epoch by epoch until the goal is reached or the time is over."""
    given = spoken.asked(__doc__)
    histories: dict[int, list[int]] = {}
    with open(given.train, newline="") as file:
        for line in csv.DictReader(file):
            histories.setdefault(int(line["user"]), []).append(int(line["item"]))
    with open(given.asked, newline="") as file:
        asked = [(int(line["user"]), int(line["target"])) for line in csv.DictReader(file)]
    torch.manual_seed(0)
    rows = rows_of(list(histories.values()))
    model = Network(max(max(map(max, histories.values())), max(target for _, target in asked)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    spent = 0.0
    while spent < given.seconds:
        start = time.perf_counter()
        for batch in rows[torch.randperm(len(rows))].split(BATCH):
            targets = batch[:, 1:]
            states = model(batch[:, :-1])[targets > 0]
            loss = cross_entropy(states @ model.items.weight.T, targets[targets > 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spent += time.perf_counter() - start
        start = time.perf_counter()
        ndcg = judged(model, [histories[user] for user, _ in asked], [target for _, target in asked])
        spoken.told(spent, ndcg, people=len(asked), ranking=time.perf_counter() - start)
        if ndcg >= given.goal:
            return


if __name__ == "__main__":
    main()

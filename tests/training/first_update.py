"""One step of reinforcement on a tiny model, of an agent and of one that reasons and ranks, four of matching and three of Muon, by one
process or by several; the main one saves what came of them."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
import reasoning
from worlds import Shelves, film_case, film_catalog

from fathom.agents.protocol import MARKERS, ProtocolSettings, opening
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.tokenizer import train_tokenizer
from fathom.records import PAD, Case, Episode
from fathom.training.contrastive import ContrastiveSettings, match
from fathom.training.muon import Muon
from fathom.training.processes import add_up, leave, processes
from fathom.training.recpo import RecPOSettings, recpo
from fathom.training.reinforce import ReinforceSettings, reinforce
from fathom.training.rollouts import tape_of
from fathom.training.run import Run
from fathom.training.supervised import FitSettings

CATALOG = film_catalog()
PROTOCOL = ProtocolSettings(segment_tokens=10, trajectory_tokens=200, prompt_tokens=150)
CASES = [film_case(history=(17 + place % 5, 18 + place % 7, 20), target=1 + place % 10) for place in range(12)]


def small_ids(episode: Episode) -> dict[str, float]:
    own = [token < 150 for token, sampled in zip(tape_of(episode).tokens, tape_of(episode).sampled, strict=True) if sampled]
    return {"total": sum(own) / len(own)}


def moved_by_muon() -> torch.Tensor:
    """The weights of three matrices after three steps along known gradients."""
    matrices = [torch.zeros(6, 4), torch.zeros(4, 6), torch.zeros(4, 4)]
    muon = Muon(matrices, learning_rate=0.1, weight_decay=0.1, products=torch.float32)
    for seed in range(3):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(seed))
        muon.step()
    return torch.cat([matrix.flatten() for matrix in matrices])


def added_up() -> torch.Tensor:
    """Sums over the processes, whose numbers are 1, 2, ...; two of the tensors fit into one message, the last is longer than one."""
    mine = float(processes().process_index + 1)
    tensors = [torch.full((3,), mine), torch.full((2, 2), mine), torch.full((9,), 10 * mine)]
    add_up(tensors, at_once=7)
    return torch.cat([tensor.flatten() for tensor in tensors])


def weights_of(policy: LocalPolicy) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in policy.model.parameters()])


def reasoned(folder: Path) -> torch.Tensor:
    """The weights of a model that reasons and ranks after one step of RecPO."""
    head = reasoning.tiny_head()
    fit = FitSettings(epochs=1, batch_size=12, learning_rate=3e-3, warmup_share=0, schedule="constant", precision="float32")
    settings = RecPOSettings(fit=fit, micro_batch=10)
    recpo(head, reasoning.CASES, reasoning.CATALOG, settings=settings, run=Run(folder / "run"), stage="recpo")
    return weights_of(head.policy)


def matched(folder: Path) -> torch.Tensor:
    """The weights of a model that ranks after four steps of matching; the last batch is one excerpt, too few for two processes."""
    head = reasoning.tiny_head()
    people = [Case(user, tuple(range(1 + user, 9 + user)), PAD) for user in range(5)]
    fit = FitSettings(epochs=1, batch_size=3, learning_rate=3e-3, warmup_share=0, schedule="constant", precision="float32")
    settings = ContrastiveSettings(fit=fit, untitled=0.3)
    match(head, people, reasoning.CATALOG, settings=settings, run=Run(folder / "run"), stage="match")
    return weights_of(head.policy)


def main(folder: Path) -> None:
    tokenizer = train_tokenizer([opening(case, CATALOG, PROTOCOL) for case in CASES], 300, markers=MARKERS)
    policy = LocalPolicy(tiny(tokenizer, width=32, layers=1, context=256, seed=1), tokenizer)
    reinforce(
        policy,
        Shelves(CATALOG.n_items),
        CASES,
        CATALOG,
        protocol=PROTOCOL,
        rewards=small_ids,
        heldout=lambda episode: {"characters": float(len(episode.text))},
        settings=ReinforceSettings(steps=1, prompts=4, samples=4, micro_batch=4, learning_rate=3e-3, preflight="warn"),
        run=Run(folder / "run"),
        stage="rl",
    )
    reasoner, matcher, muon, added = reasoned(folder), matched(folder), moved_by_muon(), added_up()
    state = processes()
    if state.is_main_process:
        made = {"weights": weights_of(policy), "reasoner": reasoner, "matcher": matcher, "muon": muon, "added": added}
        save_file(made | {"processes": torch.tensor(state.num_processes)}, folder / "weights.safetensors")
    state.wait_for_everyone()
    leave()
    threads = {name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")}
    assert not any("gloo" in thread for thread in threads), f"{threads}: a thread that outlives the interpreter may abort it"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

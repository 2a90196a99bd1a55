"""One process, or several that torchrun started: who speaks, and how all agree on what none may decide alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

from gigacount.networks.backends.torch import choose_device

PATIENCE = timedelta(hours=24)  # with the first, which validates and labels for all; torchrun sees to those that fail


@dataclass(frozen=True)
class Team:
    """This process among `world` of them. Files are written and users are told by the first alone."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The first process's value, in all of them: clocks and rounding differ, and with them all would part ways."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared.item())

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            distributed.barrier()

    def joined(self, module: nn.Module) -> nn.Module:
        """`module` with its gradients averaged over the team."""
        return nn.parallel.DistributedDataParallel(module) if self.world > 1 else module


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The team that this process was started in, by torchrun's environment; under it each process takes its own GPU."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = os.environ.get("LOCAL_RANK")
    if local is not None and device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{local}"
    chosen = choose_device(device)
    if world == 1:
        yield Team(chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Team(chosen, rank, world)
    finally:
        distributed.destroy_process_group()

"""Which network a set of tensors belongs to: their names and shapes, held against every network of the table."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from gigacount.networks import NETWORKS, build
from gigacount.networks.base import Network

COUNTER = "num_batches_tracked"
"""Batch norm's counter, which inference does not use and files older than PyTorch 0.4.1 lack."""

ALIKE = 0.5  # share of common tensors from which a file is said to be most like a network

Shapes = dict[str, tuple[int, ...]]


@functools.cache
def blank(network: str) -> Network:
    """A network of the table whose parameters have names and shapes but no memory (torch's meta device)."""
    with torch.device("meta"):
        return build(network)


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    """Shape of every tensor that matters for inference."""
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)}


def likeness(state: Mapping[str, Tensor], network: str) -> float:
    """Share, 0 to 1, of tensors that `network` and `state`, under its own or its authors' names, have in common."""
    ours = shapes(blank(network).state_dict())
    theirs = shapes(blank(network).rename_published(state))
    return len(ours.items() & theirs.items()) / len(ours | theirs)


def recognise(state: Mapping[str, Tensor]) -> tuple[str, float]:
    """The network of the table that `state` is most like, and how much: 1.0 where it is that network's."""
    likenesses = {network: likeness(state, network) for network in NETWORKS}
    best = max(likenesses, key=likenesses.__getitem__)
    return best, likenesses[best]


def belonging(state: Mapping[str, Tensor]) -> str:
    """Which network `state` belongs to, in words."""
    network, share = recognise(state)
    if share == 1:
        return f"they are weights of {network}"
    if share >= ALIKE:
        return f"they are most like {network}, with {share:.0%} of the tensors in common"
    return f"they are of no network here ({', '.join(NETWORKS)})"


def difference(expected: Shapes, found: Shapes, most: int = 3) -> str:
    """What two sets of named tensor shapes differ in, in words, with at most `most` names of each kind."""

    def listed(names: list[str]) -> str:
        return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    shared = sorted(set(expected) & set(found))
    other = [f"{n} {found[n]} instead of {expected[n]}" for n in shared if expected[n] != found[n]]
    parts = [("missing", missing), ("not known", extra), ("of another shape", other)]
    return "; ".join(f"{label}: {listed(names)}" for label, names in parts if names)

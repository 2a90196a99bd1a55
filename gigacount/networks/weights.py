"""Weights on disk: safetensors only, never unpickled."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gigacount.errors import WeightsError
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord, check_hash


def load_weights(network: Network, record: NetworkRecord) -> None:
    """Load the record's weights into `network`.

    Raises WeightsError where the file is missing, altered, no safetensors, or holds another network's tensors.
    """
    check_hash(record)
    try:
        tensors = load_file(record.weights_path)
    except SafetensorError as error:
        raise WeightsError(f"{record.weights_path}: not a safetensors file: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        raise WeightsError(f"{record.weights_path}: not weights of {record.network}: {difference(expected, found)}")
    network.load_state_dict(tensors)


def save_weights(network: Network, path: Path) -> None:
    """Write all parameters and buffers of `network`, atomically."""
    temporary = path.with_suffix(".safetensors.tmp")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, temporary)
    temporary.replace(path)


def difference(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], most: int = 3) -> str:
    """What two sets of named tensor shapes differ in, in words, with at most `most` names of each kind."""

    def listed(names: list[str]) -> str:
        return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    shared = sorted(set(expected) & set(found))
    other = [f"{n} {found[n]} instead of {expected[n]}" for n in shared if expected[n] != found[n]]
    parts = [("missing", missing), ("not known", extra), ("of another shape", other)]
    return "; ".join(f"{label}: {listed(names)}" for label, names in parts if names)

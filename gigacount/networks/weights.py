"""Weights on disk: safetensors only, never unpickled."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gigacount.errors import WeightsError
from gigacount.networks.base import Network
from gigacount.networks.recognise import belonging, difference, shapes
from gigacount.networks.record import NetworkRecord, check_hash, refuse_pickle


def load_weights(network: Network, record: NetworkRecord) -> None:
    """Load the record's weights into `network`.

    Raises WeightsError where the file is missing, altered, no safetensors, or another network's; it tells whose.
    """
    path = record.weights_path
    check_hash([path], record.sha256)
    refuse_pickle(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file: {error}") from error
    expected, found = shapes(network.state_dict()), shapes(tensors)
    if expected != found:
        told = f"{difference(expected, found)}; {belonging(tensors)}"
        raise WeightsError(f"{path}: not weights of {record.network}: {told}")
    network.load_state_dict(tensors, strict=False)  # batch norm's counters may be missing


def save_weights(network: Network, path: Path) -> None:
    """Write all parameters and buffers of `network`, atomically."""
    temporary = path.with_suffix(".safetensors.tmp")
    try:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

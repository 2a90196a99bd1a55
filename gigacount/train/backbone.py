"""Backbone files: a classification network's weights for the encoder."""

from __future__ import annotations

from pathlib import Path

from gigacount.networks.base import Network
from gigacount.networks.published import read_tensors


def load_backbone_file(network: Network, path: Path) -> None:
    """Start `network.encoder` from `path`: safetensors, a torch state dict (`weights_only`), or arrays (.npz).

    Raises WeightsError where the file cannot be read or does not fit.
    """
    network.load_backbone(read_tensors(path))

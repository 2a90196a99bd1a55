"""Backbone files: a classification network's weights for the encoder."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gigacount.errors import WeightsError
from gigacount.networks.base import Network


def load_backbone_file(network: Network, path: Path) -> None:
    """Start `network.encoder` from `path`: safetensors, a torch state dict (`weights_only`), or arrays (.npz).

    Raises WeightsError where the file cannot be read or does not fit.
    """
    network.load_backbone(read_state(path))


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Never runs code from the file: a pickle with anything but tensors is refused."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, zipfile.BadZipFile, UnpicklingError) as error:
        raise WeightsError(f"{path}: cannot read backbone weights: {str(error).splitlines()[0]}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path}: holds no state dict of tensors")
    return state

"""Weights that have learned nothing, for tests of everything but the count."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gigacount.networks import build
from gigacount.networks.light import Light
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights


def fresh_light() -> Light:
    """The light network as it is made, but for a heat map that sees heads everywhere: else it counts nobody."""
    torch.manual_seed(0)
    light = Light()
    nn.init.zeros_(light.points.get_parameter("bias"))
    return light


def untrained(network: str, folder: Path) -> Path:
    """Write fresh weights of a network of the table, `fresh.safetensors`, and their record, which is returned."""
    torch.manual_seed(0)
    weights = folder / "fresh.safetensors"
    save_weights(fresh_light() if network == "light" else build(network), weights)
    write_record(NetworkRecord("fresh", network, weights.name, hash_file(weights)), folder / "fresh.toml")
    return folder / "fresh.toml"


def untrained_light(folder: Path) -> Path:
    """Write `tiny.safetensors` and its record `tiny.toml`, which is returned, to a folder that stands."""
    weights = folder / "tiny.safetensors"
    save_weights(fresh_light(), weights)
    write_record(NetworkRecord("tiny", "light", weights.name, hash_file(weights)), folder / "tiny.toml")
    return folder / "tiny.toml"

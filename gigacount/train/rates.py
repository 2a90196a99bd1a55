"""Optimisers and learning rates."""

from __future__ import annotations

import math

import torch
from torch import nn

from gigacount.networks.base import Network
from gigacount.train.recipes import Recipe


def make_optimiser(network: Network, recipe: Recipe, hints: nn.Module | None = None) -> torch.optim.Optimizer:
    """The recipe's optimiser over the network's own parameter groups, and `hints`, each with its `initial_lr`."""
    wanted = network.parameter_groups(recipe.lr, recipe.backbone_lr)
    if hints is not None:
        wanted.append({"params": list(hints.parameters()), "lr": recipe.lr})
    groups = [{**group, "initial_lr": group["lr"]} for group in wanted if group["params"]]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=recipe.weight_decay)


def schedule(recipe: Recipe, progress: float, drops: int = 0) -> float:
    """Factor of the learning rate when `progress` (0 to 1) is done, after `drops` plateaus."""
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if recipe.schedule == "polynomial":
        return float((1 - progress) ** recipe.decay)
    if recipe.schedule == "exponential":
        return float(recipe.decay ** (progress * recipe.epochs))
    return float(recipe.decay**drops) if recipe.schedule == "plateau" else 1.0


def warm_up(recipe: Recipe, step: int) -> float:
    """Factor of the learning rate in the step after `step` others."""
    return min((step + 1) / recipe.warm_up, 1.0) if recipe.warm_up else 1.0

"""Hints: beside its counts, a network learns to have the features of a network that is trained already.

Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, here for a deep network without pretrained weights: a
count says little about each of its layers, a teacher's features say something of every cell. A 1 x 1 convolution, left
behind after training, leads from the student's channels to the teacher's; both learn together throughout, where the
paper trains up to one hint first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UsageError
from gigacount.networks import load
from gigacount.networks.backends.torch import channels_last, fold_batch_norms
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord
from gigacount.train.recipes import Recipe

PROBE_PX = 64  # side of the image by which features' channels are found
MIN_VARIANCE = 1e-3  # of a teacher's channel, which is brought to variance 1: one that is silent stays so


class Hints(nn.Module):
    """The regressors from `student`'s layers to the last layer of the same stride of the teacher.

    Raises UsageError for networks that share no stride at which both have `hint_layers`.
    """

    def __init__(self, student: Network, teacher: NetworkRecord, recipe: Recipe, device: torch.device) -> None:
        super().__init__()
        watched = channels_last(fold_batch_norms(load(teacher)).to(device)).requires_grad_(False)
        self.pairs = shared_layers(student, watched)
        self._teacher = [watched]  # in a list: it is no part of what is trained and saved
        self._mine, self._theirs = Watch(student, self.pairs), Watch(watched, self.pairs.values())
        rows = (recipe.mean, recipe.std, teacher.mean, teacher.std)
        mean, std, its_mean, its_std = (torch.tensor(row, device=device).view(1, 3, 1, 1) for row in rows)
        self._gain, self._shift = std / its_std, (mean - its_mean) / its_std
        self._probe(student, device)
        channels = [
            (self._mine.seen[mine].shape[1], self._theirs.seen[its].shape[1]) for mine, its in self.pairs.items()
        ]
        self.regressors = nn.ModuleList(nn.Conv2d(mine, its, 1) for mine, its in channels).to(device)

    def loss(self, images: Tensor) -> Tensor:
        """Sum over the pairs of the mean squared difference of the student's pass, just done, from the teacher's."""
        with torch.no_grad():
            self._teacher[0].predict((images * self._gain + self._shift).contiguous(memory_format=torch.channels_last))
        total = images.new_zeros(())
        for regressor, (mine, theirs) in zip(self.regressors, self.pairs.items(), strict=True):
            wanted = F.batch_norm(self._theirs.seen[theirs].float(), None, None, training=True, eps=MIN_VARIANCE)
            total = total + F.mse_loss(regressor(self._mine.seen[mine]).float(), wanted)
        return total

    @torch.no_grad()
    def _probe(self, student: Network, device: torch.device) -> None:
        """Have both see something, so that their features' channels are known."""
        picture, learning = torch.zeros(1, 3, PROBE_PX, PROBE_PX, device=device), student.training
        for network in (student.eval(), self._teacher[0]):
            network.predict(picture)
        student.train(learning)


def shared_layers(student: Network, teacher: Network) -> dict[str, str]:
    """The student's layers that can be taught, and the teacher's that teach each. Raises UsageError where none can."""
    by_stride = {stride: layer for layer, stride in teacher.hint_layers}
    pairs = {mine: by_stride[stride] for mine, stride in student.hint_layers if stride in by_stride}
    if not pairs:
        kinds = type(student).__name__, type(teacher).__name__
        raise UsageError(f"{kinds[0]} can take no hints from {kinds[1]}: they have no features of one size")
    return pairs


class Watch:
    """What some layers of a network gave out when it last ran: `seen`, by their names."""

    def __init__(self, network: Network, layers: Iterable[str]) -> None:
        self.seen: dict[str, Tensor] = {}
        for name in set(layers):
            network.get_submodule(name).register_forward_hook(partial(self._keep, name))

    def _keep(self, name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        self.seen[name] = output

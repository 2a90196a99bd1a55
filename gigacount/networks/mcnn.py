"""MCNN: three columns of small convolutions, one for each size of heads (Zhang et al., CVPR 2016).

    large heads    9x9 16  pool  7x7 32  pool  7x7 16  7x7 8  \\
    medium heads   7x7 20  pool  5x5 40  pool  5x5 20  5x5 10  > 1x1 -> density at stride 4
    small heads    5x5 24  pool  3x3 48  pool  3x3 24  3x3 12 /

Every convolution but the last has a ReLU. The last is linear, as section 2.3 of the paper has it (some later code puts
a ReLU there, which can stay shut for good), so a cell may be slightly negative.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, cat, nn

from gigacount.networks.base import renamed
from gigacount.networks.density_network import DensityNetwork, Gaussians
from gigacount.networks.vgg import initialise

STRIDE = 4

# (first kernel, other kernels, channels of the four convolutions)
COLUMNS = ((9, 7, (16, 32, 16, 8)), (7, 5, (20, 40, 20, 10)), (5, 3, (24, 48, 24, 12)))


class MCNN(DensityNetwork):
    """Multi-column network: 133,705 parameters. sigma: of the Gaussians in its targets, see `Gaussians`."""

    stride = STRIDE
    hint_layers = tuple((f"columns.{n}", STRIDE) for n in range(len(COLUMNS)))

    def __init__(self, sigma: float | None = None) -> None:
        super().__init__(Gaussians(sigma))
        self.columns = nn.ModuleList(column(*sizes) for sizes in COLUMNS)
        self.density = nn.Conv2d(sum(channels[-1] for _, _, channels in COLUMNS), 1, 1)
        nn.init.normal_(self.density.weight, std=0.01)
        nn.init.zeros_(self.density.get_parameter("bias"))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of 4 -> people per cell (B, H/4, W/4) float32."""
        features = cat([column(images) for column in self.columns], 1)  # (B, 8 + 10 + 12, H/4, W/4)
        density: Tensor = self.density(features)
        return self.teaching.density(density[:, 0].float())

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The usual reproductions (C-3-Framework) have `branch1` to `branch3` and `fuse`, and count ReLUs within convs.

        Theirs end in a ReLU, so they never go below 0, and some have one input channel, which does not fit.
        """
        names = {f"branch{n}.{theirs}.conv.": f"columns.{n - 1}.{ours}." for n in (1, 2, 3) for theirs, ours in LAYERS}
        return renamed(state, names | {"fuse.0.conv.": "density."})


# Index of each convolution in a column of the usual reproductions, and in `column`.
LAYERS = ((0, 0), (2, 3), (4, 6), (5, 8))


def column(first: int, other: int, channels: tuple[int, int, int, int]) -> nn.Sequential:
    """Four convolutions with ReLU, a 2 x 2 max pool after each of the first two: (B, 3, H, W) -> (B, c, H/4, W/4)."""
    layers: list[nn.Module] = []
    before = 3
    for index, width in enumerate(channels):
        kernel = other if index else first
        convolution = nn.Conv2d(before, width, kernel, padding=kernel // 2)
        initialise(convolution)
        layers += [convolution, nn.ReLU(inplace=True)]
        if index < 2:
            layers.append(nn.MaxPool2d(2))
        before = width
    return nn.Sequential(*layers)

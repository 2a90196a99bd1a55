"""Heads out of the maps that a network's graph ends in. Free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def heads_in(maps: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Maps (B, 3, h, w) of x, y and score, which is 0 where no head is -> for each picture its heads (N, 3)."""
    return [picture[:, *picture[2].nonzero()].T.astype(np.float32) for picture in maps]

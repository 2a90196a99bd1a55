"""A network as PyTorch runs it by itself, at 1280 x 720 in fp32: prints the seconds of the best of three passes.

python plain.py NETWORK
"""

from __future__ import annotations

import os
import sys
import time

os.environ.pop("OMP_WAIT_POLICY", None)

import torch

from gigacount.networks import build


def main(name: str) -> None:
    network, picture = build(name).eval(), torch.rand(1, 3, 720, 1280)
    seconds = []
    with torch.no_grad():
        for _ in range(4):
            start = time.perf_counter()
            network.predict(picture)
            seconds.append(time.perf_counter() - start)
    print(min(seconds[1:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
